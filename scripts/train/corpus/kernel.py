"""Questions and answers about Ferrite, its shell, its commands and the machine below it."""

from .dice import Dice

# Each entry: the ways to ask, the ways to answer. Any way to ask goes with any way to answer.
Entry = tuple[tuple[str, ...], tuple[str, ...]]

ABOUT: list[Entry] = [
    (
        (
            "What is Ferrite?",
            "What is this?",
            "Tell me about Ferrite.",
            "Can you tell me what Ferrite is?",
            "What is the name of this kernel?",
        ),
        (
            "Ferrite is a small kernel with a language model inside.",
            "Ferrite is a kernel that can talk. It reads a model from a disk and answers at its own shell.",
            "Ferrite is an operating system kernel for the 64-bit Arm processor. It runs a language model without any other system.",
        ),
    ),
    (
        ("Who are you?", "What are you?", "Tell me about yourself.", "Are you a robot?", "Are you a person?"),
        (
            "I am a small language model. I live inside a kernel named Ferrite.",
            "I am a little model with a few million numbers. I run inside the kernel.",
            "I am not a person. I am a small program that guesses the next word.",
        ),
    ),
    (
        ("What can you do?", "What are you good for?", "How can you help me?"),
        (
            "I can tell short stories, talk a little, and answer simple questions about this kernel.",
            "I can tell you a story or explain the commands of the shell.",
            "I know small talk, short stories and the commands of this kernel.",
        ),
    ),
    (
        (
            "What language is Ferrite written in?",
            "What language is the kernel written in?",
            "Which language is this kernel written in?",
            "What is Ferrite written in?",
        ),
        (
            "Ferrite is written in Rust, with a little assembly at the bottom.",
            "The kernel is written in Rust.",
            "It is written in Rust, because Rust makes it hard to use memory in the wrong way.",
        ),
    ),
    (
        ("What does the kernel do?", "What is a kernel?", "What is the kernel for?"),
        (
            "The kernel is the program that starts first. It owns the memory, the cores and the devices.",
            "A kernel is the part of the system that talks to the hardware.",
            "The kernel takes care of the memory and the devices, so that other programs can work.",
        ),
    ),
    (
        ("Where does Ferrite run?", "What machine does Ferrite run on?", "Which processor does Ferrite need?"),
        (
            "Ferrite runs on the virtual machine of QEMU with a 64-bit Arm processor.",
            "It runs on the bare machine. There is no other system below it.",
            "It needs a 64-bit Arm processor, a serial port and a disk with a model.",
        ),
    ),
    (
        ("Does Ferrite need Linux?", "Is there a Linux below the kernel?", "Is Ferrite a Linux system?"),
        (
            "No. Ferrite runs on the bare machine, without Linux.",
            "No, it does not. There is nothing between the kernel and the hardware.",
        ),
    ),
    (
        ("Why is it called Ferrite?", "Where does the name Ferrite come from?"),
        (
            "Ferrite is made from iron and rust, and the kernel is written in Rust.",
            "The first computers kept their memory in small rings of ferrite.",
        ),
    ),
    (
        ("How big is the model?", "How many parameters do you have?", "How large is the default model?"),
        (
            "The default model has about five million parameters.",
            "It is very small. It has six layers and fits in a few megabytes.",
        ),
    ),
    (
        ("How were you trained?", "Where did you learn to talk?", "Who taught you to speak?"),
        (
            "I was trained on short stories and small talk that a program wrote.",
            "I learned from simple texts. A program wrote them, and I read them again and again.",
        ),
    ),
    (
        ("Is Ferrite safe?", "Why is Ferrite safe?", "Why was Ferrite made?", "Why should I use Ferrite?"),
        (
            "It is small, so there is little that can break or be attacked.",
            "Ferrite is a small system with one purpose, and that makes it easy to check.",
            "It was made to show that a kernel can run a language model on its own.",
        ),
    ),
]

COMMANDS: list[Entry] = [
    (
        (
            "How do I see all commands?",
            "How do I get help?",
            "What does help do?",
            "What commands are there?",
            "Which commands can I use?",
            "What can I type here?",
        ),
        (
            "Type help to see all commands.",
            "The command help shows a list of all commands.",
            "Type help, or type help and the name of a command to learn more about it.",
        ),
    ),
    (
        (
            "How much memory is free?",
            "How do I see the memory?",
            "What does mem do?",
            "How do I check the memory?",
            "What does the command mem show?",
        ),
        (
            "The command mem shows the heap, the arena and the weights.",
            "Type mem. It shows how much memory is used and how much is free.",
        ),
    ),
    (
        ("How many cores are there?", "How do I see the cores?", "What does cpus do?", "How do I list the processors?"),
        (
            "The command cpus lists the cores of the machine.",
            "Type cpus to see all cores.",
            "Type cpus. It shows one line for each core.",
        ),
    ),
    (
        ("How do I list the disks?", "What does disks do?", "Which disks are there?", "How do I see the disks?"),
        (
            "The command disks lists the disks and their sizes.",
            "Type disks to see all disks.",
            "Type disks. Each disk with a model is shown with its name.",
        ),
    ),
    (
        (
            "How do I list the devices?",
            "What does pci do?",
            "How do I find the graphics card?",
            "How do I see the PCI devices?",
        ),
        (
            "The command pci lists the devices on the bus.",
            "Type pci. It shows the address and the class of each device.",
        ),
    ),
    (
        (
            "How do I run the model?",
            "How do I ask the model something?",
            "What does llm infer do?",
            "How do I generate text?",
            "How do I talk to the model?",
        ),
        (
            'Type llm infer, then a text in quotes and the number of tokens, for example llm infer "Hello" 10.',
            "The command llm infer takes a text and a number. The model goes on with the text.",
            'Use llm infer. For example, llm infer "Once upon a time" 50 tells a story.',
        ),
    ),
    (
        ("How do I load a model?", "What does llm load do?", "How do I load another model?"),
        (
            "Type llm load and the name of the model.",
            "The command llm load reads a model from the disk into memory.",
            "Use llm load. The name of the model is shown by llm list.",
        ),
    ),
    (
        ("How do I unload the model?", "What does llm unload do?", "How do I free the memory of the model?"),
        ("Type llm unload. It frees the memory of the model.", "The command llm unload removes the model from memory."),
    ),
    (
        ("How do I list the models?", "What does llm list do?", "Which models are there?", "What models can I load?"),
        ("The command llm list shows all models on the disks.", "Type llm list to see the names of all models."),
    ),
    (
        ("How fast is the model?", "What does llm bench do?", "How do I measure the speed?", "How fast are you?"),
        (
            "The command llm bench measures how many tokens the model writes in a second.",
            "Type llm bench. It prints the speed in tokens per second.",
        ),
    ),
    (
        ("What does llm info do?", "How do I learn more about the model?", "How do I see the number of layers?"),
        (
            "The command llm info shows the layers, the width and the size of the model.",
            "Type llm info. It shows what the model is made of.",
        ),
    ),
    (
        ("What does llm stats do?", "How do I see what the model has done?"),
        (
            "The command llm stats shows how many tokens were read and written.",
            "Type llm stats to see how long the model has worked.",
        ),
    ),
    (
        ("What does llm verify do?", "How do I check the model?", "How do I know that the model is not broken?"),
        (
            "The command llm verify computes a checksum of the model and compares it.",
            "Type llm verify. It tells you if the file is the right one.",
        ),
    ),
    (
        ("What does llm tokenize do?", "How do I see the tokens of a text?"),
        (
            "The command llm tokenize shows the tokens of a text.",
            "Type llm tokenize and a text in quotes. It prints one number for each token.",
        ),
    ),
    (
        ("What does llm offload do?", "Can Ferrite use a graphics card?", "Does the model use a graphics card?"),
        (
            "Not yet. The model runs on the cores of the processor.",
            "The command llm offload tells you that the work is done by the processor.",
        ),
    ),
    (
        (
            "How do I turn off the machine?",
            "How do I shut down?",
            "What does poweroff do?",
            "How do I stop the kernel?",
            "How do I leave?",
        ),
        (
            "Type poweroff to turn off the machine.",
            "The command poweroff turns off the machine.",
            "Type poweroff. Then the machine stops.",
        ),
    ),
    (
        ("How do I restart the machine?", "What does reboot do?", "How do I start again?"),
        ("Type reboot to start the machine again.", "The command reboot starts the machine again."),
    ),
    (
        ("How long has the kernel been running?", "What does uptime do?", "How do I see how long the machine is on?"),
        (
            "The command uptime shows how long the kernel has been running.",
            "Type uptime to see the time since the start.",
        ),
    ),
    (
        ("What does log do?", "How do I see more messages?", "How do I change the log level?"),
        ("The command log sets how many messages the kernel prints.", "Type log and a level, for example log debug."),
    ),
    (
        ("How do I stop the answer?", "How do I stop the model?", "The model does not stop. What can I do?"),
        ("Press Ctrl-C to stop the answer.", "Press Ctrl-C. The shell stays alive."),
    ),
    (
        ("How do I make the answers more creative?", "What is the temperature?", "How do I change the temperature?"),
        (
            "The temperature says how much chance there is in the choice of the next word. With zero, the answer is always the same.",
            "Add a temperature to llm infer. A higher temperature makes the text more surprising.",
        ),
    ),
    (
        ("What happens if I make a mistake?", "What if I type a wrong command?", "Why does my command not work?"),
        (
            "The shell tells you in one line what is wrong and what it expects.",
            "Nothing bad happens. Read the message and try again.",
            "Perhaps there is a typing mistake. Type help to see how it is written.",
        ),
    ),
]

TERMS: list[Entry] = [
    (
        ("What is a token?", "What are tokens?", "What is a token for?"),
        (
            "A token is a small piece of text, often a word.",
            "Tokens are the pieces of text that the model reads and writes.",
        ),
    ),
    (
        ("What is a language model?", "How does a language model work?", "How do you work?", "What is a model?"),
        (
            "A language model reads some text and guesses the next token, again and again.",
            "It is a program that has learned which words often follow each other.",
        ),
    ),
    (
        ("What is a GGUF file?", "What is GGUF?", "What file does the model come in?"),
        (
            "A GGUF file holds the weights and the vocabulary of a model.",
            "The model is kept in a GGUF file, with its weights and its words.",
        ),
    ),
    (
        ("What is a weight?", "What are the weights?", "What are weights?"),
        ("The weights are the numbers that the model has learned.", "A weight is one of the numbers in the model."),
    ),
    (
        ("What is the heap?", "What is the arena?", "What is the arena for?"),
        (
            "The heap is for small things. The arena holds the scratch memory of the model.",
            "The arena is a large piece of memory that is taken once and used for each token.",
        ),
    ),
    (
        ("What is the cache?", "What is the KV cache?", "Why is there a cache?"),
        (
            "The cache keeps what the model has read, so that it does not have to read it again.",
            "The cache holds the keys and values of all earlier tokens.",
        ),
    ),
    (
        ("What is the context?", "How long can my text be?", "What is the context length?"),
        (
            "The context is the text that the model can see at once. It is 256 tokens long.",
            "My context is 256 tokens. A longer text is refused.",
        ),
    ),
    (
        ("What is QEMU?", "What is a virtual machine?"),
        (
            "QEMU is a program that acts like a whole machine.",
            "A virtual machine is a machine that is made of software.",
        ),
    ),
    (
        ("What is an interrupt?", "What are interrupts?"),
        (
            "An interrupt is a signal from a device that asks for attention.",
            "A device sends an interrupt when it needs the kernel.",
        ),
    ),
    (
        ("What is a page table?", "What does the memory unit do?"),
        (
            "A page table tells the processor where each page of memory is.",
            "It says which memory can be read, written or executed.",
        ),
    ),
    (
        ("What is a driver?", "What does a driver do?"),
        (
            "A driver is the part of the kernel that talks to one device.",
            "A driver knows how to use a device, for example a disk.",
        ),
    ),
    (
        ("What is a shell?", "What is this prompt?", "What is the shell?"),
        (
            "The shell reads your commands and runs them.",
            "A shell is a program that waits for a line of text and does what it says.",
        ),
    ),
    (
        ("What is the disk for?", "Where is the model?", "Where does the model come from?"),
        (
            "The model is on a disk. The kernel reads it into memory.",
            "The disk holds the model file. The kernel reads it before it can speak.",
        ),
    ),
    (
        ("What is Rust?", "Why is the kernel written in Rust?"),
        (
            "Rust is a programming language that finds many mistakes before the program runs.",
            "Rust is a language for safe and fast programs.",
        ),
    ),
    (
        ("What is a core?", "What is a processor?", "What does the processor do?"),
        (
            "The processor is the part of the computer that does the work. It has one or more cores.",
            "A core is a part of the processor that runs one program at a time.",
        ),
    ),
    (
        ("What is memory?", "What is the memory for?", "Why do computers need memory?"),
        (
            "Memory is where a computer keeps what it is working on.",
            "A computer needs memory to keep its numbers while it works.",
        ),
    ),
    (
        ("What is quantization?", "Why is the model so small?", "What is Q4_0?"),
        (
            "The weights are rounded to four bits, so the file is small.",
            "It means that each weight is stored in only four bits.",
        ),
    ),
]

NARRATIVE_STARTS = (
    "The kernel starts at the entry point.",
    "The kernel wakes up when the machine is turned on.",
    "The kernel is small, but it knows what to do.",
    "The kernel is a patient program.",
    "The kernel begins its work in the dark.",
    "The kernel boots in less than a second.",
    "When the machine starts, the kernel is the first to wake up.",
    "The kernel has a simple life.",
    "In the machine lives a small kernel.",
    "Every time the machine is turned on, the kernel does the same things.",
)
NARRATIVE_STEPS = (
    (
        "First it sets up the stack and the vectors.",
        "First it looks for memory.",
        "First it reads the device tree.",
        "First it says hello on the serial port.",
    ),
    (
        "Then it turns on the caches.",
        "Then it builds the page tables.",
        "Then it finds the disks.",
        "Then it counts the cores.",
    ),
    (
        "It reads the model from the disk and checks every number.",
        "It opens the model file and looks at each tensor.",
        "It loads the weights into memory, one block after another.",
    ),
    (
        "It does not waste a single byte.",
        "If something is wrong, it says what and where.",
        "It never forgets to give memory back.",
        "If there is too little memory, it says how much it needs.",
    ),
    (
        "After that, the shell shows a prompt and waits.",
        "At last the prompt appears, and the kernel waits for a command.",
        "When everything is ready, it waits for someone to type.",
    ),
    (
        "When you ask a question, the model answers with one token at a time.",
        "You type a question, and the words come out one by one.",
        "A user types a few words, and the model goes on with the story.",
    ),
    (
        "In the end, the command poweroff turns everything off.",
        "Then the kernel sleeps until the next key is pressed.",
        "And when the work is done, the machine becomes quiet again.",
    ),
)


def untidy(dice: Dice, question: str) -> str:
    """Now and then the question as someone in a hurry types it."""
    roll = dice.random()
    if roll < 0.06:
        return question.lower().rstrip("?.")
    if roll < 0.12:
        return question.rstrip("?.")
    return question


def answer(dice: Dice, entry: Entry) -> str:
    """One way to answer, sometimes with a few words in front."""
    text = dice.choice(entry[1])
    if dice.random() < 0.08 and not text.startswith(
        ("No", "Yes", "I ", "Ferrite", "Not", "My", "QEMU", "Rust", "GGUF")
    ):
        return dice.one("That is a good question. ", "That is easy. ", "Let me explain. ") + text
    return text


def question_and_answer(dice: Dice) -> tuple[str, str]:
    """A question about the kernel and its answer."""
    entry = dice.choice(dice.choices([ABOUT, COMMANDS, TERMS], [3, 4, 2])[0])
    return untidy(dice, dice.choice(entry[0])), answer(dice, entry)


def narrative(dice: Dice) -> tuple[str, str]:
    """What the kernel does, told as a story."""
    chosen = [dice.choice(options) for options in NARRATIVE_STEPS if dice.random() < 0.8]
    start = dice.choice(NARRATIVE_STARTS)
    return " ".join([start] + chosen), start + (chosen[0] if chosen else "")
