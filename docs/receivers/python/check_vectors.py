"""Checks the receiver's verify function with the vectors that every language shares.

    python3 check_vectors.py
"""

import json
import sys
from email.message import Message
from pathlib import Path

from receiver import verify

FILE = Path(__file__).resolve().parents[3] / "crates" / "signature" / "vectors.json"


def main():
    vectors = json.loads(FILE.read_text(encoding="utf-8"))
    cases = [case for case in vectors["verify"] if case["scheme"] == "vantagekit"]
    failed = 0
    for case in cases:
        headers = Message()  # what http.server gives: a mapping that ignores case
        for name, value in case["headers"].items():
            headers[name] = value
        answer = verify(
            headers,
            case["body"].encode(),
            case["secret"],
            case["now"],
            tolerance=case.get("toleranceSeconds", vectors["toleranceSeconds"]),
            prefix=case.get("headerPrefix", vectors["headerPrefix"]),
        )
        if answer != case["valid"]:
            failed += 1
            print(f"FAILED: {case['name']}: expected {case['valid']}, but was {answer}", file=sys.stderr)
    print(f"{len(cases) - failed} passed, {failed} failed")
    sys.exit(0 if cases and not failed else 1)


if __name__ == "__main__":
    main()
