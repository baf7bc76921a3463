// The first program of the guest that `scripts/peer` boots: loads the model on /dev/vda with llama.cpp and
// measures it as `llm bench` does, or becomes llama-server.
//
// Arguments, from the kernel's command line behind `--`: `serve`, texts at a time, positions of each; or tokens of
// the prompt, tokens to generate, runs.
// Prints `peer: first token` when the five-token prompt has its answer, and at the end `peer: ` with one JSON
// object of times in microseconds, lists in the order of the runs. The machine then powers off.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ggml-backend.h"
#include "llama.h"

enum { FIRST_TOKEN_PROMPT = 5, MAX_RUNS = 100 };

static void power_off(void) {
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
}

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("peer: failed: ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    power_off();
}

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

// Inserts the drivers. Which of them needs symbols of which changes from kernel to kernel: those that are
// refused for want of one (ENOENT) get another turn after the others.
static void insert_drivers(void) {
    const char *paths[] = {"/virtio.ko",   "/virtio_ring.ko", "/virtio_mmio.ko", "/virtio_blk.ko",
                           "/failover.ko", "/net_failover.ko", "/virtio_net.ko"};
    const int n_paths = sizeof paths / sizeof *paths;
    for (int turn = 1, n_left = n_paths; n_left > 0; turn++) {
        for (int i = 0; i < n_paths; i++) {
            if (paths[i] == NULL) {
                continue;
            }
            int module = open(paths[i], O_RDONLY | O_CLOEXEC);
            if (module >= 0 && syscall(SYS_finit_module, module, "", 0) == 0) {
                paths[i] = NULL;
                n_left--;
            } else if (module < 0 || errno != ENOENT || turn == n_paths) {
                fail("%s: %m", paths[i]);
            }
            close(module);
        }
    }
}

static void set_up_machine(void) {
    if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) != 0 || mount("sysfs", "/sys", "sysfs", 0, NULL) != 0 ||
        mount("proc", "/proc", "proc", 0, NULL) != 0) {
        fail("mount: %m");
    }
    insert_drivers();
    for (int waited_ms = 0; access("/dev/vda", R_OK) != 0; waited_ms += 5) {
        if (waited_ms > 10000) {
            fail("no /dev/vda");
        }
        usleep(5000);
    }
}

// Gives the network card the address that QEMU's network has for its guest.
static void set_up_network(void) {
    struct ifreq request = {.ifr_name = "eth0"};
    struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    address->sin_family = AF_INET;
    bool is_set = any >= 0 && inet_pton(AF_INET, "10.0.2.15", &address->sin_addr) == 1 &&
                  ioctl(any, SIOCSIFADDR, &request) == 0 &&
                  inet_pton(AF_INET, "255.255.255.0", &address->sin_addr) == 1 &&
                  ioctl(any, SIOCSIFNETMASK, &request) == 0;
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (!is_set || ioctl(any, SIOCSIFFLAGS, &request) != 0) {
        fail("eth0: %m");
    }
    close(any);
}

static void serve(const char *n_parallel, const char *n_ctx) {
    char total_ctx[32], n_threads[32];
    snprintf(total_ctx, sizeof total_ctx, "%d", atoi(n_parallel) * atoi(n_ctx));
    snprintf(n_threads, sizeof n_threads, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    set_up_network();
    setenv("HOME", "/", true);
    execl("/llama-server", "llama-server", "--model", "/dev/vda", "--host", "0.0.0.0", "--port", "8080", "--parallel",
          n_parallel, "--ctx-size", total_ctx, "--threads", n_threads, NULL);
    fail("llama-server: %m");
}

static void log_problems(enum ggml_log_level level, const char *text, void *user_data) {
    (void)user_data;
    if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN) {
        fputs(text, stderr);
    }
}

// Logits for the last of `n` tokens.
static void forward(struct llama_context *context, llama_token *tokens, int n) {
    if (llama_decode(context, llama_batch_get_one(tokens, n)) != 0) {
        fail("llama_decode");
    }
    if (llama_get_logits_ith(context, -1) == NULL) {
        fail("no logits");
    }
}

static void reset(struct llama_context *context) { llama_memory_clear(llama_get_memory(context), true); }

static void print_list(const char *key, const int64_t *values, int n) {
    printf(", \"%s\": [", key);
    for (int i = 0; i < n; i++) {
        printf("%s%lld", i ? ", " : "", (long long)values[i]);
    }
    printf("]");
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    set_up_machine();
    if (argc < 4) {
        fail("expected three arguments, not %d", argc - 1);
    }
    if (strcmp(argv[1], "serve") == 0) {
        serve(argv[2], argv[3]);
    }
    const int n_prompt = atoi(argv[1]), n_generate = atoi(argv[2]), n_runs = atoi(argv[3]);
    if (n_prompt < 1 || n_generate < 1 || n_runs < 1 || n_runs > MAX_RUNS) {
        fail("%s %s %s: expected tokens, tokens, runs", argv[1], argv[2], argv[3]);
    }
    const int n_threads = sysconf(_SC_NPROCESSORS_ONLN);

    const int64_t booted = now_us();
    llama_log_set(log_problems, NULL);
    llama_backend_init();
    // Mapped, as is the default: less than half of the instructions that reading takes.
    struct llama_model *model = llama_model_load_from_file("/dev/vda", llama_model_default_params());
    if (model == NULL) {
        fail("the model cannot be loaded");
    }
    struct llama_context_params params = llama_context_default_params();
    int needed = n_prompt > n_generate ? n_prompt : n_generate;
    if (needed < FIRST_TOKEN_PROMPT) {
        needed = FIRST_TOKEN_PROMPT;
    }
    params.n_ctx = needed;
    params.n_threads = n_threads;
    params.n_threads_batch = n_threads;
    struct llama_context *context = llama_init_from_model(model, params);
    if (context == NULL) {
        fail("no context of %d tokens", needed);
    }
    const int64_t loaded = now_us();

    // The ids that `llm bench` takes.
    const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    llama_token *prompt = malloc(needed * sizeof *prompt);
    for (int i = 0; i < needed; i++) {
        prompt[i] = (int64_t)(i + 1) * 7919 % n_vocab;
    }

    forward(context, prompt, FIRST_TOKEN_PROMPT);
    const int64_t answered = now_us();
    printf("peer: first token\n");

    int64_t prefill_us[MAX_RUNS], decode_us[MAX_RUNS];
    for (int run = 0; run < n_runs; run++) {
        reset(context);
        int64_t started = now_us();
        forward(context, prompt, n_prompt);
        prefill_us[run] = now_us() - started;

        reset(context);
        started = now_us();
        for (int i = 0; i < n_generate; i++) {
            forward(context, prompt + i, 1);
        }
        decode_us[run] = now_us() - started;
    }

    printf("peer: {\"boot_us\": %lld, \"load_us\": %lld, \"first_forward_us\": %lld, \"threads\": %d",
           (long long)booted, (long long)(loaded - booted), (long long)(answered - loaded), n_threads);
    print_list("prefill_us", prefill_us, n_runs);
    print_list("decode_us", decode_us, n_runs);
    printf(", \"system\": \"%s\"}\n", llama_print_system_info());
    power_off();
    return 0;
}
