# SPDX-License-Identifier: Apache-2.0
"""What tests/bench/serve runs inside its namespaces: the same requests at our incusd and at the official one, medians and ratios."""
import http.client, json, os, signal, socket, statistics, subprocess, sys, threading, time

work, bindir, official, client, image = sys.argv[1:6]
scale = float(os.environ.get("BENCH_SCALE", "1"))
thousand = int(1000 * scale)
groups = set(sys.argv[6:])


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("incus", timeout=600)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(600)
        self.sock.connect(self.path)


class Daemon:
    def __init__(self, name, program):
        self.name, self.program = name, program
        self.dir = f"{work}/{name}"
        self.socket = f"{self.dir}/unix.socket"
        self.env = dict(os.environ, INCUS_DIR=self.dir, INCUS_CONF=f"{work}/client", INCUS_SOCKET=self.socket)
        os.makedirs(self.dir, mode=0o711, exist_ok=True)
        self.process = None

    def start(self):
        begin = time.perf_counter()
        self.log = open(f"{work}/{self.name}.log", "ab")
        self.process = subprocess.Popen([self.program, "--group", "root"], env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        while True:
            try:
                c = Unix(self.socket)
                c.request("GET", "/internal/ready")
                if c.getresponse().status == 200:
                    return (time.perf_counter() - begin) * 1000
            except OSError:
                pass
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended while it started: see {self.log.name}\n" + open(self.log.name).read()[-2000:])
            if time.perf_counter() - begin > 120:
                raise SystemExit(f"{self.name} is not ready after two minutes")
            time.sleep(0.001)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def call(self, method, path, body=None, connection=None):
        c = connection or Unix(self.socket)
        c.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        data = r.read()
        reply = json.loads(data)
        if r.status >= 400:
            raise RuntimeError(f"{self.name}: {method} {path}: {reply.get('error')}")
        return reply

    def do(self, method, path, body=None, connection=None):
        """An asynchronous call, to its end."""
        c = connection or Unix(self.socket)
        reply = self.call(method, path, body, c)
        if reply["type"] != "async":
            return reply
        end = self.call("GET", reply["operation"] + "/wait", None, c)["metadata"]
        if end["status_code"] != 200:
            raise RuntimeError(f"{self.name}: {method} {path}: {end['err']}")
        return end

    def timed_get(self, path, runs=5):
        c = Unix(self.socket)
        took = []
        for _ in range(runs):
            begin = time.perf_counter()
            c.request("GET", path)
            size = len(c.getresponse().read())
            took.append((time.perf_counter() - begin) * 1000)
        return statistics.median(took), size

    def processes(self):
        """The daemon, its children, and every process that has this INCUS_DIR in its environment but runs no guest."""
        mine = set()
        for p in os.listdir("/proc"):
            if not p.isdigit():
                continue
            try:
                env = open(f"/proc/{p}/environ", "rb").read().split(b"\0")
                command = open(f"/proc/{p}/cmdline", "rb").read()
            except OSError:
                continue
            ours = b"INCUS_DIR=" + self.dir.encode() in env or self.dir.encode() in command
            if int(p) == self.process.pid or (ours and not command.startswith((b"/sbin/init", b"init", b"sleep", b"/bin/sh"))):
                mine.add(p)
        waiting = [str(self.process.pid)]
        while waiting:
            p = waiting.pop()
            try:
                for t in os.listdir(f"/proc/{p}/task"):
                    for child in open(f"/proc/{p}/task/{t}/children").read().split():
                        # a guest's init has a pid namespace of its own
                        if os.readlink(f"/proc/{child}/ns/pid") == os.readlink("/proc/self/ns/pid") and child not in mine:
                            mine.add(child)
                            waiting.append(child)
            except OSError:
                pass
        return mine

    def pss(self):
        total = 0
        for p in self.processes():
            try:
                for line in open(f"/proc/{p}/smaps_rollup"):
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                pass
        return total / 1024

    def load(self, *args):
        out = subprocess.run([f"{bindir}/load", args[0], self.socket, *map(str, args[1:])], capture_output=True, text=True, timeout=600)
        if out.returncode:
            raise RuntimeError(f"{self.name}: load {args}: {out.stderr}")
        return json.loads(out.stdout)


results = []


def show(what, ours, theirs, unit, limit):
    ratio = ours / theirs if theirs else float("inf")
    mark = "" if ratio <= limit else "  MISSED"
    print(f"{what:58s} {ours:10.2f} {theirs:10.2f} {unit:4s} ratio {ratio:6.3f} of {limit}{mark}", flush=True)
    results.append((what, ours, theirs, ratio, limit))


def both(what, unit, limit, measure):
    values = []
    for d in daemons:
        try:
            values.append(measure(d))
        except Exception as e:  # one missing capability must not hide the other figures
            print(f"{what:58s} not measured: {type(e).__name__}: {e}", flush=True)
            return
    show(what, values[0], values[1], unit, limit)


def wanted(group):
    return not groups or group in groups


def prepare(d):
    pool = {"name": "default", "driver": "dir", "config": {}}
    if not d.call("GET", "/1.0/storage-pools")["metadata"]:
        d.call("POST", "/1.0/storage-pools", pool)
    d.call("PUT", "/1.0/profiles/default", {"config": {}, "description": "", "devices": {
        "root": {"type": "disk", "path": "/", "pool": "default"}, "eth0": {"type": "nic", "nictype": "p2p", "name": "eth0"}}})


def import_image(d):
    with open(image, "rb") as f:
        c = Unix(d.socket)
        c.request("POST", "/1.0/images", f.read(), {"Content-Type": "application/octet-stream", "X-Incus-filename": "busybox.tar.gz"})
        reply = json.loads(c.getresponse().read())
    end = d.call("GET", reply["operation"] + "/wait")["metadata"]
    if end["status_code"] != 200:
        raise RuntimeError(end["err"])
    d.fingerprint = end["metadata"]["fingerprint"]


def create_thousand(d):
    names = [f"e{i}" for i in range(thousand)]
    lock = threading.Lock()
    failed = []

    def worker():
        c = Unix(d.socket)
        while True:
            with lock:
                if not names or failed:
                    return
                name = names.pop()
            try:
                d.do("POST", "/1.0/instances", {"name": name, "source": {"type": "none"}, "type": "container"}, c)
            except Exception as e:
                failed.append(e)

    begin = time.perf_counter()
    threads = [threading.Thread(target=worker) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    if failed:
        raise failed[0]
    return (time.perf_counter() - begin) * 1000


def run_state(d, name, action):
    begin = time.perf_counter()
    d.do("PUT", f"/1.0/instances/{name}/state", {"action": action, "force": True, "timeout": 30})
    return (time.perf_counter() - begin) * 1000


def median_of(d, runs, measure):
    return statistics.median(measure(d) for _ in range(runs))


def restart(d):
    d.stop()
    return d.start()


def official_client(d, args, runs=15):
    took = []
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run([client, *args], env=dict(d.env, INCUS_PROJECT="default"), check=True, stdin=subprocess.DEVNULL, capture_output=True)
        took.append((time.perf_counter() - begin) * 1000)
    return statistics.median(took)


def recorded(d, runs=15):
    took = []
    c = Unix(d.socket)
    for _ in range(runs):
        begin = time.perf_counter()
        d.do("POST", "/1.0/instances/c0/exec", {"command": ["true"], "record-output": True, "wait-for-websocket": False, "interactive": False}, c)
        took.append((time.perf_counter() - begin) * 1000)
    return statistics.median(took)


def crowd(d):
    listeners = subprocess.Popen([f"{bindir}/load", "listen", d.socket, "5000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if listeners.stdout.readline().strip() != "5000":
            raise RuntimeError("not all listeners were accepted")
        r = d.load("get", "/1.0", 20000, 500)
        if r["errors"]:
            raise RuntimeError(f"{r['errors']} errors")
        return r["p99"]
    finally:
        listeners.stdin.close()
        listeners.wait(60)


def push(d):
    big = f"{work}/big"
    if not os.path.exists(big):
        with open(big, "wb") as f:
            block = os.urandom(1 << 20)
            for _ in range(int(1024 * scale)):
                f.write(block)
    begin = time.perf_counter()
    with open(big, "rb") as f:
        c = Unix(d.socket)
        c.request("POST", "/1.0/instances/c0/files?path=/root/big", f, {"Content-Type": "application/octet-stream", "Content-Length": str(os.path.getsize(big)),
                                                                      "X-Incus-type": "file", "X-Incus-mode": "0644", "X-Incus-write": "overwrite"})
        r = c.getresponse()
        data = r.read()
        if r.status != 200:
            raise RuntimeError(data[:200])
    return (time.perf_counter() - begin) * 1000


def pull(d):
    begin = time.perf_counter()
    c = Unix(d.socket)
    c.request("GET", "/1.0/instances/c0/files?path=/root/big")
    r = c.getresponse()
    size = 0
    while True:
        block = r.read(1 << 20)
        if not block:
            break
        size += len(block)
    if size != os.path.getsize(f"{work}/big"):
        raise RuntimeError(f"{size} bytes came")
    return (time.perf_counter() - begin) * 1000


daemons = [Daemon("ours", f"{bindir}/incusd"), Daemon("official", official)]
print(f"{'':58s} {'ours':>10s} {'official':>10s}")
for d in daemons:
    d.start()  # the first start makes keys and directories
both("start of the daemon, empty", "ms", 0.2, lambda d: median_of(d, 5, restart))
both("memory idle (PSS)", "MiB", 0.35, lambda d: d.pss())
for d in daemons:
    prepare(d)
    import_image(d)

if wanted("run"):
    for d in daemons:
        d.do("POST", "/1.0/instances", {"name": "c0", "source": {"type": "image", "fingerprint": d.fingerprint}, "type": "container"})
        run_state(d, "c0", "start")
        run_state(d, "c0", "stop")
    starts, stops = {}, {}
    for d in daemons:
        starts[d.name], stops[d.name] = [], []
        for _ in range(10):
            starts[d.name].append(run_state(d, "c0", "start"))
            stops[d.name].append(run_state(d, "c0", "stop"))
    show("start over REST", statistics.median(starts["ours"]), statistics.median(starts["official"]), "ms", 0.2)
    show("forced stop over REST", statistics.median(stops["ours"]), statistics.median(stops["official"]), "ms", 0.15)
    for d in daemons:
        run_state(d, "c0", "start")
    both("exec by the official client", "ms", 0.85, lambda d: official_client(d, ["exec", "c0", "--", "true"]))
    both("exec by raw websockets", "ms", 0.5, lambda d: d.load("exec", "c0", 30)["median"])
    both("exec with recorded output", "ms", 0.7, recorded)
    both("push of 1 GiB", "ms", 1.0, push)
    both("pull of 1 GiB", "ms", 1.0, pull)
    for d in daemons:
        run_state(d, "c0", "stop")
        d.do("DELETE", "/1.0/instances/c0")

if wanted("twenty"):
    for d in daemons:
        for i in range(20):
            d.do("POST", "/1.0/instances", {"name": f"r{i}", "source": {"type": "image", "fingerprint": d.fingerprint}, "type": "container", "start": True})
            if d.call("GET", f"/1.0/instances/r{i}")["metadata"]["status"] != "Running":
                run_state(d, f"r{i}", "start")
            for s in range(5):
                d.do("POST", f"/1.0/instances/r{i}/snapshots", {"name": f"s{s}"})
    both("list recursion=2, 20 running with 5 snapshots each", "ms", 0.2, lambda d: d.timed_get("/1.0/instances?recursion=2")[0])
    both("memory with 20 running (PSS)", "MiB", 0.2, lambda d: d.pss())
    for d in daemons:
        pid = d.call("GET", "/1.0/instances/r3/state")["metadata"]["pid"]
        os.kill(pid, signal.SIGKILL)
        for _ in range(100):
            if [i["status"] for i in d.call("GET", "/1.0/instances?recursion=2")["metadata"] if i["name"] == "r3"] == ["Stopped"]:
                break
            time.sleep(0.05)
        else:
            print(f"{d.name}: a container killed from outside still shows as running")
        for i in range(20):
            if d.call("GET", f"/1.0/instances/r{i}")["metadata"]["status"] == "Running":
                run_state(d, f"r{i}", "stop")
            d.do("DELETE", f"/1.0/instances/r{i}")

if wanted("thousand"):
    both(f"create {thousand} empty instances, four at a time", "ms", 0.25, create_thousand)
    both("list recursion=1", "ms", 0.25, lambda d: d.timed_get("/1.0/instances?recursion=1")[0])
    both("list recursion=2", "ms", 0.02, lambda d: d.timed_get("/1.0/instances?recursion=2", 3)[0])
    both(f"start of the daemon with {thousand} instances", "ms", 0.1, lambda d: median_of(d, 3, restart))
    both(f"memory with {thousand} instances (PSS)", "MiB", 0.15, lambda d: (d.timed_get("/1.0/instances?recursion=1"), d.pss())[1])

if wanted("crowd"):
    for d in daemons:
        restart(d)
    both("p99 of GET /1.0, 500 at a time, 5000 listeners", "ms", 0.5, crowd)

for d in daemons:
    d.stop()
missed = [r for r in results if r[3] > r[4]]
print(f"{len(results)} figures, {len(missed)} over their limit")
