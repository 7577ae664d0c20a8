"""Runs scripts of tlsfuzzer against two servers, and compares what becomes of each conversation.

    conformance.py TLSFUZZER LIST PORT PORT [--quick] [--table FILE] [NAME...]

TLSFUZZER is its source tree, LIST names the scripts with their arguments, and the ports are those of
the servers to be compared. Called by scripts/conformance.
"""

import argparse
import os
import re
import subprocess
import sys
import time

# The same conversations in the same order, whatever a script chooses at random.
SEEDED = """
import random, runpy, sys
random.seed(1)
class Seeded(random.Random):
    def __init__(self, *_):
        super().__init__(1)
random.SystemRandom = Seeded
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# A script that takes longer has failed.
PATIENCE = 300
# How often a script is run at most, if the servers differ.
TRIES = 3


def run(tree, script, port):
    environment = dict(os.environ, PYTHONPATH=tree, PYTHONHASHSEED="0")
    command = [sys.executable, "-c", SEEDED, os.path.join(tree, "scripts", script[0])]
    command += ["-h", "127.0.0.1", "-p", str(port), *script[1:]]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def verdicts(process):
    """What became of each conversation: [(name, "OK" or what went wrong)]."""
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        said += f"\nTimeoutError: not done after {PATIENCE} s\n"
    found = []
    for line in said.splitlines():
        if line == "Test end":
            break
        begun = re.fullmatch(r"(\S.*) \.\.\.|(\".*\" repeat \d+)(?:\.\.\.)?", line)
        if begun:
            found.append([begun[1] or begun[2], "no verdict"])
        elif found and line in ("OK", "OK-expected failure"):
            found[-1][1] = "OK"
        elif found and re.match(r"[\w.]+(Error|Exception|Alert|Abrupt\w*)\b", line):
            # Addresses in it are of this run only.
            found[-1][1] = re.sub(r"0x[0-9a-f]{6,}", "0x...", line)
    if not found:
        found = [["(none)", "\n".join(said.splitlines()[-3:])]]
    return [tuple(one) for one in found] + [("(exit status)", str(process.returncode))]


def differences(two):
    """The conversations that ended otherwise with the second server."""
    first, second = two
    if [name for name, _ in first] != [name for name, _ in second]:
        return [("(conversations)", f"{len(first)}", f"{len(second)}, or others")]
    return [(name, a, b) for (name, a), (_, b) in zip(first, second) if a != b]


def chosen(path, quick, names):
    """Lines of the list: a mark if it is one of the quick ones, the script, and its arguments."""
    for line in open(path, encoding="utf-8"):
        words = line.split("#")[0].split()
        if not words:
            continue
        is_quick = words[0] == "*"
        script = words[1:] if is_quick else words
        name = script[0].removesuffix(".py")
        if (name in names) if names else (is_quick or not quick):
            yield script


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tree")
    parser.add_argument("list")
    parser.add_argument("ports", nargs=2, type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table")
    parser.add_argument("names", nargs="*")
    settings = parser.parse_args()

    rows, passed, once, differ = [], 0, 0, 0
    for script in chosen(settings.list, settings.quick, settings.names):
        start = time.monotonic()
        title = " ".join(script)
        for attempt in range(TRIES):
            processes = [run(settings.tree, script, port) for port in settings.ports]
            two = [verdicts(process) for process in processes]
            found = differences(two)
            if not found:
                break
            for name, a, b in found:
                print(f"  {title}: {name!r}:\n    suspended: {a}\n    --sync:    {b}")
        conversations = [verdict for _, verdict in two[0][:-1]]
        good = conversations.count("OK")
        how = f"{len(found)} DIFFER" if found else "same after all" if attempt else "same"
        took = time.monotonic() - start
        print(f"{title}: {good} of {len(conversations)} as it expects; {how}; {took:.1f} s", flush=True)
        rows.append((title, good, len(conversations), how))
        passed += not found
        once += attempt > 0 and not found
        differ += bool(found)
    if settings.table:
        with open(settings.table, "w", encoding="utf-8") as table:
            table.write("| script | conversations | as it expects | the two servers |\n")
            table.write("|---|--:|--:|---|\n")
            for title, good, total, how in rows:
                table.write(f"| {title} | {total} | {good} | {how} |\n")
    if once:
        print(f"{once} script(s) differed in one run, and not in the next")
    total = sum(row[2] for row in rows)
    print(f"{len(rows)} scripts, {total} conversations with each server")
    print(f"{passed} passed, {differ} failed")
    return 1 if differ or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
