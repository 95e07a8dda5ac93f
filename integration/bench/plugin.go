package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// programs are the paths of what is compared.
type programs struct {
	vnet, vnetIPAM, vnetctl string
	ptp, bridge, hostLocal  string
}

// findPrograms looks in bin and .cache/peers below the module's root, or where
// VNET_BIN and VNET_PEERS say.
func findPrograms() (programs, error) {
	root, err := moduleRoot()
	if err != nil {
		return programs{}, err
	}
	bin, peers := fromEnv("VNET_BIN", filepath.Join(root, "bin")), fromEnv("VNET_PEERS", filepath.Join(root, ".cache/peers"))
	p := programs{
		vnet: filepath.Join(bin, "vnet"), vnetIPAM: filepath.Join(bin, "vnet-ipam"), vnetctl: filepath.Join(bin, "vnetctl"),
		ptp: filepath.Join(peers, "ptp"), bridge: filepath.Join(peers, "bridge"), hostLocal: filepath.Join(peers, "host-local"),
	}
	for _, path := range []string{p.vnet, p.vnetIPAM, p.vnetctl, p.ptp, p.bridge, p.hostLocal} {
		if _, err := os.Stat(path); err != nil {
			return p, fmt.Errorf("a program is missing; `make build` and integration/peers/build.sh make them: %w", err)
		}
	}
	return p, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no go.mod here or above: run from inside the repository")
}

func fromEnv(key, fallback string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return fallback
}

// plugin is a plugin with the configuration that a runtime would hand it.
type plugin struct {
	path string
	conf []byte
	args string // CNI_ARGS
}

func newPlugin(path string, conf map[string]any) (plugin, error) {
	raw, err := json.Marshal(conf)
	if err != nil {
		return plugin{}, fmt.Errorf("encode the configuration of %s: %w", path, err)
	}
	return plugin{path: path, conf: raw}, nil
}

var attachments atomic.Uint64

// add attaches the pod under a new container id and returns the wall time.
func (p plugin) add(to *pod) (time.Duration, error) {
	to.id = fmt.Sprintf("%064x", attachments.Add(1))
	c, err := p.call("ADD", to)
	return c.wall, err
}

// addCPU is add, but returns the CPU time.
func (p plugin) addCPU(to *pod) (time.Duration, error) {
	to.id = fmt.Sprintf("%064x", attachments.Add(1))
	c, err := p.call("ADD", to)
	return c.cpu, err
}

// del detaches what add attached, and returns the wall time.
func (p plugin) del(from *pod) (time.Duration, error) {
	c, err := p.call("DEL", from)
	return c.wall, err
}

// cost is what a call takes of the runtime's time and of the processors'.
type cost struct{ wall, cpu time.Duration }

// call runs one verb in the calling thread's namespace. Its wall time is that from
// before the fork to after the wait, and its CPU time that of the process and of
// those that it waited for, from the fork to the end.
func (p plugin) call(verb string, at *pod) (c cost, err error) {
	stdin, stdout, err := pipes(p.conf)
	if err != nil {
		return c, err
	}
	defer stdin.Close()
	defer stdout.read.Close()
	attr := &os.ProcAttr{Dir: "/", Env: p.environment(verb, at), Files: []*os.File{stdin, stdout.write, os.Stderr}}
	var state *os.ProcessState
	c.wall, err = stopwatch(func() error {
		process, err := os.StartProcess(p.path, []string{p.path}, attr)
		if err != nil {
			return err
		}
		state, err = process.Wait()
		return err
	})
	stdout.write.Close()
	if err != nil {
		return c, err
	}
	c.cpu = state.UserTime() + state.SystemTime()
	answer, err := io.ReadAll(stdout.read)
	if err == nil && !state.Success() {
		err = fmt.Errorf("%s %s: %v: %s", filepath.Base(p.path), verb, state, answer)
	}
	return c, err
}

func (p plugin) environment(verb string, at *pod) []string {
	return []string{
		"CNI_ARGS=" + p.args, "PATH=" + os.Getenv("PATH"), "CNI_PATH=" + filepath.Dir(p.path), "CNI_COMMAND=" + verb,
		"CNI_CONTAINERID=" + at.id, "CNI_NETNS=" + at.path, "CNI_IFNAME=eth0",
	}
}

type pipe struct{ read, write *os.File }

// pipes returns a pipe that holds conf already, and one that takes an answer:
// both are smaller than a pipe's buffer, so nobody has to copy meanwhile.
func pipes(conf []byte) (stdin *os.File, stdout pipe, err error) {
	stdin, w, err := os.Pipe()
	if err != nil {
		return nil, pipe{}, err
	}
	_, err = w.Write(conf)
	w.Close()
	if err == nil {
		stdout.read, stdout.write, err = os.Pipe()
	}
	if err != nil {
		stdin.Close()
		return nil, pipe{}, err
	}
	return stdin, stdout, nil
}
