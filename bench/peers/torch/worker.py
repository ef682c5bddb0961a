"""One peer process (../protocol.ts): `worker.py '{"work": ..., "setting": ..., "seconds": 1}'`.

Lines on stdout that begin with "@" are answers as JSON; a line "go" on stdin asks for one round. The number of
threads and OpenBLAS's settings come from the environment, which must be set before the libraries load.
"""

import json
import sys
import time


def answer(record):
    print("@" + json.dumps(record), flush=True)


def measure(name, units, call, settle, seconds):
    """Calls for at least `seconds`, in portions long enough that waiting for a GPU costs little."""
    calls, portion = 0, 1
    start, cpu = time.perf_counter(), time.process_time()
    while True:
        for _ in range(portion):
            call()
        settle()
        calls += portion
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return {"name": name, "units": units * calls, "seconds": elapsed, "cpu": time.process_time() - cpu}
        portion = max(1, min(portion * 2, round(calls / elapsed * (seconds - elapsed))))


def main():
    task = json.loads(sys.argv[1])
    raw, work = task["setting"], task["work"]
    try:
        import torch
    except ImportError as error:
        return answer({"skip": str(error)})
    if raw.get("library") == "transformers":
        try:
            import transformers  # noqa: F401
        except ImportError as error:
            return answer({"skip": str(error)})
    if raw.get("threads"):
        torch.set_num_threads(raw["threads"])
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False

    from jobs import Setting, jobs_of

    setting = Setting(raw)
    try:
        jobs, check = jobs_of(work, setting)
    except Exception as error:  # a peer that cannot do the work is a line in the report, not an end
        return answer({"error": f"{type(error).__name__}: {error}"})
    seconds = task["seconds"] / len(jobs)
    for job in jobs:
        measure(*job, setting.settle, seconds / 4)
    answer({"ready": True, "check": check})
    for line in sys.stdin:
        if line.strip() == "go":
            answer({"parts": [measure(*job, setting.settle, seconds) for job in jobs]})


main()
