#!/usr/bin/env python3
"""Runs the verifying functions printed in README.md over genuine, forged and stale requests.

What people copy has to work as it is printed: the code is taken out of the page itself.
Prints `N passed, N failed`; exits 1 if any failed. Needs python3, node and go.
"""

import hashlib
import hmac
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BODY = '{"type":"link.created","data":{"name":"Grüße 🎉"}}'

NODE_DRIVER = """
const { secret, requests } = JSON.parse(await (await import("node:fs/promises")).readFile(process.argv[2], "utf8"));
console.log(JSON.stringify(requests.map(({ headers, body }) => verify(secret, Object.fromEntries(
  Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])), Buffer.from(body)))));
"""

PYTHON_DRIVER = """
import json, sys
given = json.load(open(sys.argv[1]))
print(json.dumps([verify(given["secret"], one["headers"], one["body"].encode()) for one in given["requests"]]))
"""

GO_DRIVER = """
func main() {
	text, _ := os.ReadFile(os.Args[1])
	var given struct {
		Secret   string
		Requests []struct {
			Headers map[string]string
			Body    string
		}
	}
	json.Unmarshal(text, &given)
	results := []bool{}
	for _, one := range given.Requests {
		header := http.Header{}
		for name, value := range one.Headers {
			header.Set(name, value)
		}
		results = append(results, verify(given.Secret, header, []byte(one.Body)))
	}
	out, _ := json.Marshal(results)
	fmt.Println(string(out))
}
"""

GO_IMPORTS = ["crypto/hmac", "crypto/sha256", "encoding/hex", "encoding/json", "fmt", "math", "net/http", "os", "strconv", "time"]


def request(secret=SECRET, body=BODY, sent_body=None, age=0, signature=None, timestamp=None):
    timestamp = timestamp or str(int(time.time()) - age)
    signed = hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()
    headers = {"X-VantageKit-Timestamp": timestamp, "X-VantageKit-Signature": signature or f"sha256={signed}"}
    return {"headers": headers, "body": body if sent_body is None else sent_body}


CASES = [
    ("genuine", request(), True),
    ("genuine, four minutes old", request(age=240), True),
    ("stale", request(age=310), False),
    ("from the future", request(age=-310), False),
    ("another secret", request(secret="whsec_other"), False),
    ("another body", request(sent_body=BODY + " "), False),
    ("no signature", {"headers": {"X-VantageKit-Timestamp": str(int(time.time()))}, "body": BODY}, False),
    ("no headers", {"headers": {}, "body": BODY}, False),
    ("a timestamp that is no number", request(timestamp="now"), False),
    ("a signature of another length", request(signature="sha256=00"), False),
    ("not ASCII", request(signature="sha256=\u00e9"), False),
]


def printed(language):
    """The code block of README.md in that language that defines `verify`."""
    page = (ROOT / "README.md").read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", page, re.S)
    found = [block for block in blocks if "verify(" in block]
    if len(found) != 1:
        sys.exit(f"README.md has {len(found)} code blocks in {language} with a verify function, not one")
    return found[0]


def run(command, given):
    done = subprocess.run([*command, given], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        given = folder / "requests.json"
        given.write_text(json.dumps({"secret": SECRET, "requests": [case for _, case, _ in CASES]}))
        (folder / "verify.mjs").write_text(printed("js") + NODE_DRIVER)
        (folder / "verify.py").write_text(printed("python") + PYTHON_DRIVER)
        imports = "\n".join(f'\t"{name}"' for name in GO_IMPORTS)
        (folder / "verify.go").write_text(f"package main\n\nimport (\n{imports}\n)\n\n{printed('go')}{GO_DRIVER}")
        for language, command in [
            ("Node.js", ["node", folder / "verify.mjs"]),
            ("Python", [sys.executable, folder / "verify.py"]),
            ("Go", ["go", "run", folder / "verify.go"]),
        ]:
            for (name, _, expected), got in zip(CASES, run(command, given), strict=True):
                if got == expected:
                    passed += 1
                else:
                    failed += 1
                    print(f"{language}: {name}: verify said {got}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
