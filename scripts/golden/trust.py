"""Trees of digests by veritysetup and signatures by minisign, for the tests of crates/trust.

    scripts/golden/trust.py        needs veritysetup (cryptsetup-bin) and minisign; new keys are made each time

Writes crates/trust/tests/golden/verity.txt, and into crates/trust/tests/golden/minisign/ a file, its signatures, the key
that they are of, another one, and one with its secret.
"""

import hashlib
import pathlib
import subprocess
import tempfile

GOLDEN = pathlib.Path(__file__).parents[2] / "crates/trust/tests/golden"

# Length of the data, block sizes, salt.
TREES = [
    (4096, 4096, 4096, "-"),
    (8192, 4096, 4096, "-"),
    (8192, 4096, 4096, "aabb"),
    (4096 * 128, 4096, 4096, "00"),
    (4096 * 129, 4096, 4096, "0123456789abcdef" * 4),
    (512 * 300, 512, 512, "ff" * 256),
    (512 * 16, 512, 512, "-"),
    (512 * 257, 512, 512, "-"),
    (4096 * 40, 4096, 1024, "11" * 32),
    (1024 * 100, 1024, 4096, "22" * 32),
    (8192 * 3, 8192, 65536, "-"),
    # A last block that is not whole: veritysetup is given the zeros behind it.
    (10000, 4096, 4096, "-"),
    (512 * 33 + 1, 512, 512, "33"),
]


def data(length):
    return bytes((i * 2654435761 & 0xFFFFFFFF) >> 24 for i in range(length))


def tree(folder, length, data_block, hash_block, salt):
    file, out = folder / "data", folder / "tree"
    content = data(length)
    file.write_bytes(content + bytes(-length % data_block))
    out.unlink(missing_ok=True)
    told = subprocess.run(
        ["veritysetup", "format", file, out, "--uuid=00000000-0000-0000-0000-000000000000", f"--salt={salt}",
         f"--data-block-size={data_block}", f"--hash-block-size={hash_block}"],
        check=True, capture_output=True, text=True).stdout
    root = next(line.split()[-1] for line in told.splitlines() if line.startswith("Root hash"))
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    return f"{length} {data_block} {hash_block} {salt} {root} {digest}"


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        lines = [tree(pathlib.Path(folder), *case) for case in TREES]
    version = subprocess.run(["veritysetup", "--version"], check=True, capture_output=True, text=True).stdout.split("\n")[0]
    title = f"# {version}: length, data block, hash block, salt, root, SHA-256 of the tree with a UUID of zeros"
    (GOLDEN / "verity.txt").write_text("\n".join([title, *lines]) + "\n")

    folder = GOLDEN / "minisign"
    folder.mkdir(exist_ok=True)
    file = folder / "file.txt"
    file.write_text("ferrite-models 1\nmodel tiny 1 1 " + "00" * 32 + "\n")
    # What signs in tests is a secret for nobody.
    for key in ["own", "other", "secret"]:
        run("minisign", "-G", "-W", "-f", "-p", folder / f"{key}.pub", "-s", folder / f"{key}.key")
    for name, options in [("prehashed", ["-H"]), ("legacy", ["-l"])]:
        run("minisign", "-S", *options, "-s", folder / "own.key", "-m", file, "-t", "a trusted comment",
            "-x", folder / f"{name}.minisig")
        run("minisign", "-V", "-p", folder / "own.pub", "-m", file, "-x", folder / f"{name}.minisig")
    for key in ["own", "other"]:
        (folder / f"{key}.key").unlink()


main()
