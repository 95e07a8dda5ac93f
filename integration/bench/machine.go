package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what the times depend on besides the programs.
type machine struct {
	Cores     int    `json:"cores"`
	CPU       string `json:"cpu"`
	Kernel    string `json:"kernel"`
	Load      string `json:"load"` // averages over 1, 5 and 15 minutes, before
	GoOfOurs  string `json:"go_of_ours"`
	GoOfPeers string `json:"go_of_peers"`
}

func machineFacts(p programs) machine {
	return machine{
		Cores: runtime.NumCPU(), CPU: cpuModel(), Kernel: kernelRelease(), Load: load(),
		GoOfOurs: goVersion(p.vnet), GoOfPeers: goVersion(p.ptp),
	}
}

func (m machine) print(w io.Writer) {
	fmt.Fprintf(w, "%d cores, %s, Linux %s, load %s; ours built with %s, the peers with %s\n",
		m.Cores, m.CPU, m.Kernel, m.Load, m.GoOfOurs, m.GoOfPeers)
}

const unknown = "unknown"

func cpuModel() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return unknown
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return unknown
	}
	return unix.ByteSliceToString(u.Release[:])
}

func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(raw))
	if err != nil || len(fields) < 3 {
		return unknown
	}
	return strings.Join(fields[:3], " ")
}

func goVersion(program string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return unknown
	}
	return info.GoVersion
}
