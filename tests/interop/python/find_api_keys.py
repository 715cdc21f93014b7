"""Another scanner: lets Kingfisher look for API keys by the rule that Chancery ships, in a folder with files `key*`, which hold
real ones, and `damaged*`, which hold what only looks like one. Exits with 1 at the first surprise.

Usage: find_api_keys.py KINGFISHER RULE FOLDER
"""

import json
import pathlib
import subprocess
import sys


def main(kingfisher, rule, folder):
    scan = [kingfisher, "scan", folder, "--rules-path", rule, "--load-builtins=false"]
    scan += ["--format", "json", "--no-update-check", "--no-dedup", "--no-validate"]
    scanned = subprocess.run(scan, capture_output=True, text=True, check=False)
    try:
        # A summary follows the findings.
        findings = json.JSONDecoder().raw_decode(scanned.stdout)[0]["findings"]
    except (ValueError, KeyError) as error:
        raise SystemExit(f"kingfisher ended with {scanned.returncode} and said: {scanned.stderr}") from error
    found = sorted(pathlib.Path(finding["finding"]["path"]).name for finding in findings)
    real = sorted(path.name for path in pathlib.Path(folder).iterdir() if path.name.startswith("key"))
    assert real and found == real, f"found {found}, and not {real}"
    print(f"Kingfisher: {len(found)} API keys found, and none that only look like one")


main(*sys.argv[1:])
