import asyncio, json
from tests.model.conftest import *
from tests.golden.test_golden import normal, OURS, JetstreamDecoder
from tests.support.engine import tables_of
from tests.support.records import golden
NAMES=("post", "follow", "like", "repost", "duplicate_record", "profile_agg", "post_agg")
def test_x(stage, runner):
    runner.run(go(stage))
async def go(stage):
    dec = JetstreamDecoder()
    for sc in golden("scenarios.jsonl.gz"):
        await stage.begin([])
        gold = {}
        nletters = 0
        for i, step in enumerate(sc["steps"]):
            ev = dec.decode(json.dumps(step["event"]).encode())
            await stage.append([ev])
            await stage.finish([1]*100)
            gold = step.get("tables", gold)
            want = {n: list(gold.get(n, [])) for n in NAMES}
            bases = {r["uri"] for t in ("follow","like","repost") for r in want[t]}
            want["duplicate_record"] = [r for r in want["duplicate_record"] if r["uri"] not in bases and any(p in r["uri"] for p in OURS)]
            want = normal(want); have = normal(await tables_of(stage.database))
            L = len(await stage.letters())
            acc = L == nletters; nletters = L
            for n in NAMES:
                if want[n] != have[n]:
                    print(sc["scenario"], i, n, "\n   WANT", [r for r in want[n] if r not in have[n]], "\n   HAVE", [r for r in have[n] if r not in want[n]])
            if acc != step["accepted"]: print(sc["scenario"], i, "ACCEPTED", step["accepted"], "ours", acc, step["event"]["commit"]["collection"], str(step.get("error"))[:100])
