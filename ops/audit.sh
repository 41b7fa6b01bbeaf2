#!/bin/sh
# Asks the advisory service whether a package that we pin has a known vulnerability.
# Exit codes: 0 none has, 1 one has, 3 the service could not be asked.
set -eu

folder=build/audit
report=$folder/report.txt
mkdir -p "$folder"
if [ ! -x "$folder/bin/pip-audit" ]; then
    "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
        --only-binary :all: --require-hashes -r requirements-audit.txt
fi
for file in requirements.txt requirements-dev.txt requirements-build.txt; do
    # Strict: a package of which the service says nothing is not taken for a sound one.
    if timeout 120 "$folder/bin/pip-audit" --strict --disable-pip --require-hashes \
        --progress-spinner off --timeout 10 -r "$file" >"$report" 2>&1; then
        echo "$file: no known vulnerability"
    elif grep -q 'Found [0-9]* known vulnerabilit' "$report"; then
        cat "$report"
        exit 1
    else
        echo "$file: not audited, the advisory service gives no answer: $(tail -n 1 "$report")"
        exit 3
    fi
done
