package testnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Attach says how a pod is attached; its zero value is eth0 on the node's
// first network.
type Attach struct {
	Network string         // name of a conflist; the first written by default
	IfName  string         // "eth0" by default
	Args    string         // CNI_ARGS
	Caps    map[string]any // capability arguments
}

// Add attaches the pod with cnitool, as a runtime with libcni does, and
// returns the last plugin's result.
func (n *Node) Add(p *Pod, opts ...Attach) (*types100.Result, error) {
	out, err := n.cnitool("add", p.Path, opts)
	if err != nil {
		return nil, err
	}
	return decodeResult(out)
}

// Del detaches the pod with cnitool.
func (n *Node) Del(p *Pod, opts ...Attach) error {
	_, err := n.cnitool("del", p.Path, opts)
	return err
}

// Check runs CHECK with cnitool, which hands over the cached result of ADD.
func (n *Node) Check(p *Pod, opts ...Attach) error {
	_, err := n.cnitool("check", p.Path, opts)
	return err
}

// Status runs STATUS with cnitool; libcni calls plugins of 1.1.0 lists only.
func (n *Node) Status(opts ...Attach) error {
	_, err := n.cnitool("status", n.Path, opts)
	return err
}

// GC runs GC with cnitool, which names no valid attachment: libcni calls DEL
// for everything in its cache, then GC without cni.dev/valid-attachments.
func (n *Node) GC(opts ...Attach) error {
	_, err := n.cnitool("gc", n.Path, opts)
	return err
}

func (n *Node) cnitool(verb, netnsPath string, opts []Attach) ([]byte, error) {
	at, err := n.attach(opts)
	if err != nil {
		return nil, err
	}
	env := map[string]string{"CNI_PATH": cniPath(), "NETCONFPATH": n.ConfDir(), "CNI_IFNAME": at.IfName}
	if at.Args != "" {
		env["CNI_ARGS"] = at.Args
	}
	if at.Caps != nil {
		caps, err := json.Marshal(at.Caps)
		if err != nil {
			return nil, fmt.Errorf("encode capability arguments: %w", err)
		}
		env["CAP_ARGS"] = string(caps)
	}
	cmd := n.Command(env, Peer(n.t, "cnitool"), verb, at.Network, netnsPath)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := n.Run(cmd); err != nil {
		return nil, toolError(verb, err, stderr.String())
	}
	return stdout.Bytes(), nil
}

func (n *Node) attach(opts []Attach) (Attach, error) {
	var at Attach
	if len(opts) > 0 {
		at = opts[0]
	}
	if at.IfName == "" {
		at.IfName = "eth0"
	}
	if at.Network == "" {
		names := n.Networks()
		if len(names) == 0 {
			return at, errors.New("no conflist was written to the node")
		}
		at.Network = names[0]
	}
	return at, nil
}

// toolError keeps the message of cnitool and drops its usage text.
func toolError(verb string, err error, stderr string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	msg := stderr
	if i := strings.Index(msg, "Usage:"); i >= 0 {
		msg = msg[:i]
	}
	return fmt.Errorf("cnitool %s: %s", verb, strings.TrimSpace(msg))
}
