//! The kernel: a heap, a UART, a model, and what is asked of it.

extern crate alloc;

use alloc::{vec, vec::Vec};
use core::{
    alloc::{GlobalAlloc, Layout},
    arch::{asm, global_asm},
    error::Error,
    fmt::{self, Write},
    panic::PanicInfo,
    ptr::null_mut,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use llm::{
    arena::ALIGN,
    gguf::Gguf,
    model::Model,
    parallel::Serial,
    quant::ModelBytes,
    sampling::{Sampler, SamplingConfig},
    session::{Session, SessionOptions, Step},
    simd::{CpuFeatures, Kernels},
    tokenizer::{EncodeOptions, Tokenizer},
};

global_asm!(include_str!("boot.s"));

const PROMPT: &str = "What is Ferrite?";

/// The model's tensors are read where they lie, so the file must be aligned as they are in it.
#[repr(align(64))]
struct Aligned<B: ?Sized>(B);
static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../test_models/tiny.gguf"));

const HEAP_BYTES: usize = 32 << 20;
static mut HEAP: [u8; HEAP_BYTES] = [0; HEAP_BYTES];

/// Hands out the heap once, from its beginning: the engine allocates while it loads, and nothing per token.
struct Bump(AtomicUsize);

#[global_allocator]
static ALLOCATOR: Bump = Bump(AtomicUsize::new(0));

// SAFETY: each call gets bytes of the heap that no other gets, aligned as asked; null if there are too few.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let heap = (&raw mut HEAP).cast::<u8>();
        let begin = (heap.addr() + self.0.load(Relaxed)).next_multiple_of(layout.align()) - heap.addr();
        match begin.checked_add(layout.size()) {
            Some(end) if end <= HEAP_BYTES => {
                // There is one core, and no interrupt.
                self.0.store(end, Relaxed);
                heap.wrapping_add(begin)
            }
            _ => null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// The PL011 UART of `virt`, which QEMU has ready.
struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: this is the data register, mapped as device memory. QEMU takes a byte at any time.
            unsafe { (0x0900_0000 as *mut u32).write_volatile(byte.into()) };
        }
        Ok(())
    }
}

fn answer() -> Result<(), alloc::boxed::Box<dyn Error>> {
    let gguf = Gguf::parse(&MODEL.0, MODEL.0.len() as u64)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let model = Model::load(&gguf, ModelBytes::as_in_file(&MODEL.0[..]))?;
    // SAFETY: every aarch64 CPU has base NEON, which is all that is claimed.
    let kernels = unsafe { Kernels::for_cpu(CpuFeatures::default()) }.next().unwrap_or(Kernels::scalar());
    let options = SessionOptions::generate(128);
    let mut memory = vec![0; Session::required_bytes(model.config(), &options)? + ALIGN];
    let mut session = Session::new(model, options, kernels, &Serial, &mut memory)?;
    let mut ids = Vec::new();
    tokenizer.encode(PROMPT, EncodeOptions { add_special: true, parse_special: false }, &mut ids)?;
    let mut sampler = Sampler::new(SamplingConfig::greedy(), tokenizer.n_vocab())?;
    let mut generation = session.generate(&tokenizer, &mut sampler, &ids, 64, &[])?;
    loop {
        match generation.step()? {
            Step::Token { text, .. } => write!(Uart, "{text}")?,
            Step::Finished { text, .. } => return Ok(writeln!(Uart, "{text}")?),
        }
    }
}

fn power_off() -> ! {
    // SAFETY: PSCI's SYSTEM_OFF (Arm DEN 0022, 5.1.9), which `virt` takes by HVC, does not come back.
    unsafe { asm!("hvc #0", in("x0") 0x8400_0008_u64, options(noreturn)) }
}

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    if let Err(error) = answer() {
        let _ = writeln!(Uart, "error: {error}");
    }
    power_off()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Uart, "{info}");
    power_off()
}
