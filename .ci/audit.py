"""Fails when a library that is installed has a known advisory. Without a network nothing is checked, and that is said.

    python .ci/audit.py
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    """1 for an advisory, else 0."""
    done = subprocess.run([sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off",
                           "--timeout", "15"], capture_output=True, text=True)
    try:
        checked = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print("The database of advisories could not be reached: nothing was checked.")
        return 0
    found = [f"{one['name']} {one['version']}: {', '.join(advisory['id'] for advisory in one['vulns'])}"
             for one in checked if one.get("vulns")]
    known = sum("vulns" in one for one in checked)
    print("\n".join(found) or f"{known} of {len(checked)} libraries were found in the database; none has an advisory.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
