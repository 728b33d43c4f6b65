# SPDX-License-Identifier: Apache-2.0
"""A systemd unit's sandbox without systemd: its system calls, address families, capabilities and read-only system, read from the unit
itself and put around a program by bubblewrap. What a unit says and this does not know is an error, so that no line of it goes untested
by being overlooked."""
import errno
import os
import subprocess

try:
    import seccomp
except ImportError:
    seccomp = None

PROT_WRITE, PROT_EXEC, S_ISUID, S_ISGID = 2, 4, 0o4000, 0o2000
AF_MAX = 46
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
# By bubblewrap's own doing: mounts, namespaces, no capability. The rest says how the service is run, not what it may do.
ELSEWHERE = {"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateUsers", "PrivateMounts", "ProtectProc", "ProcSubset",
             "CapabilityBoundingSet", "NoNewPrivileges", "ProtectControlGroups", "ProtectKernelTunables", "DevicePolicy", "UMask", "LimitCORE",
             "LimitNOFILE"}
# Each takes away a capability, a device or calls of @clock, @module, @raw-io and the like, none of which is left.
IMPLIED = {"ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "KeyringMode", "LockPersonality", "RemoveIPC",
           "RestrictRealtime", "SystemCallArchitectures", "SystemCallErrorNumber"}
RUNNING = {"Type", "User", "Group", "Environment", "StateDirectory", "StateDirectoryMode", "ExecStart", "ExecReload", "Restart", "RestartSec",
           "TimeoutStopSec"}
KNOWN = ELSEWHERE | IMPLIED | RUNNING | {"SystemCallFilter", "RestrictAddressFamilies", "MemoryDenyWriteExecute", "RestrictNamespaces",
                                         "RestrictSUIDSGID"}


def innermost(pid):
    """What bubblewrap runs, some processes below the one that was started."""
    while True:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            below = f.read().split()
        if not below:
            return int(pid)
        pid = below[0]


def service(path):
    """The [Service] section: {name: [value, ...]}."""
    found, inside = {}, False
    with open(path, encoding="utf-8") as f:
        for line in map(str.strip, f):
            if line.startswith("["):
                inside = line == "[Service]"
            elif inside and line and line[0] not in "#;":
                name, _, value = line.partition("=")
                found.setdefault(name, []).append(value)
    unknown = found.keys() - KNOWN
    assert not unknown, f"{path}: the sandbox of the tests knows nothing of {sorted(unknown)}"
    return found


def calls_of(words):
    """Names of system calls, from names and from systemd's sets of them."""
    calls = set()
    for word in words:
        if word.startswith("@"):
            listed = subprocess.run(["systemd-analyze", "syscall-filter", word], check=True, capture_output=True, text=True).stdout
            inside = [line.strip() for line in listed.splitlines()[1:] if line.startswith(" ")]
            calls |= calls_of(x for x in inside if x and x[0] != "#")
        else:
            calls.add(word)
    return calls


def allowed_calls(settings):
    allowed = set()
    for value in settings["SystemCallFilter"]:
        words = value.lstrip("~").split()
        allowed = allowed - calls_of(words) if value.startswith("~") else allowed | calls_of(words)
    return allowed


def list_filter(settings):
    f = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
    # systemd allows these to every service: without them none could be started.
    for name in allowed_calls(settings) | {"execve", "exit", "exit_group", "rt_sigreturn", "sigreturn", "getrlimit", "time"}:
        if seccomp.resolve_syscall(seccomp.Arch(), name) >= 0:
            f.add_rule(seccomp.ALLOW, name)
    return f


def argument_filter(settings):
    f = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
    arg, masked, equal, above = seccomp.Arg, seccomp.MASKED_EQ, seccomp.EQ, seccomp.GE
    if settings.get("MemoryDenyWriteExecute") == ["yes"]:
        both = PROT_WRITE | PROT_EXEC
        f.add_rule(seccomp.ERRNO(errno.EPERM), "mmap", arg(2, masked, both, both))
        f.add_rule(seccomp.ERRNO(errno.EPERM), "mprotect", arg(2, masked, PROT_EXEC, PROT_EXEC))
        f.add_rule(seccomp.ERRNO(errno.EPERM), "pkey_mprotect", arg(2, masked, PROT_EXEC, PROT_EXEC))
    if settings.get("RestrictNamespaces") == ["yes"]:
        f.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
        for name in ("unshare", "setns"):
            f.add_rule(seccomp.ERRNO(errno.EPERM), name)
        for bit in (0x80, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
            f.add_rule(seccomp.ERRNO(errno.EPERM), "clone", arg(0, masked, bit, bit))
    if settings.get("RestrictSUIDSGID") == ["yes"]:
        for bit in (S_ISUID, S_ISGID):
            for name, position in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdirat", 2), ("mknodat", 2)):
                f.add_rule(seccomp.ERRNO(errno.EPERM), name, arg(position, masked, bit, bit))
    families = {FAMILIES[x] for x in " ".join(settings["RestrictAddressFamilies"]).split()}
    for family in range(AF_MAX):
        if family not in families:
            f.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", arg(0, equal, family))
    f.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", arg(0, above, AF_MAX))
    return f


class Sandbox:
    """The sandbox of a unit. `around` is what stands before a program's words; pass_fds goes with it."""

    def __init__(self, scratch, unit, uid, gid):
        settings = service(unit)
        assert settings["CapabilityBoundingSet"] == [""] and settings["ProtectSystem"] == ["strict"], settings
        folder = scratch.folder("sandbox")
        self.files = []
        for name, made in (("list", list_filter(settings)), ("arguments", argument_filter(settings))):
            self.files.append(open(os.path.join(folder, name), "w+b"))  # pylint: disable=consider-using-with
            made.export_bpf(self.files[-1])
        self.identity = ["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups", "--no-new-privs"]

    def around(self, writable, readable=()):
        words = [*self.identity, "bwrap", "--unshare-user", "--unshare-pid", "--cap-drop", "ALL", "--die-with-parent", "--ro-bind", "/", "/",
                 "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/home", "--tmpfs", "/root"]
        for path in readable:
            words += ["--ro-bind", path, path]
        for path in writable:
            words += ["--bind", path, path]
        for file in self.files:
            file.seek(0)
            words += ["--add-seccomp-fd", str(file.fileno())]
        return [*words, "--"]

    def pass_fds(self):
        return [f.fileno() for f in self.files]

    def close(self):
        for file in self.files:
            file.close()
