package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"time"
)

// connections are opened in one trial.
const connections = 400

// tracked makes a node track its connections, as every node with services does,
// with or without security groups.
const tracked = "iptables -w -t mangle -A POSTROUTING -m conntrack --ctstate INVALID -j DROP"

// judgedPair is a node with a client and a server pod, which a group's rules are
// between.
type judgedPair struct {
	*world
	server string // its address and port
}

// pairUnder makes a pair under the rules of the subnet's group, beside so many
// pods that each have another group as well.
func (b *bench) pairUnder(rules []object, groups int) (*judgedPair, error) {
	w, err := newWorld(b.dir, 2+groups)
	if err != nil {
		return nil, err
	}
	p, err := b.underGroups(w, rules, groups)
	if err != nil {
		return nil, err
	}
	pair := &judgedPair{world: w}
	if err := w.node.do(func() error { return shell(tracked) }); err != nil {
		return nil, err
	}
	for i, pod := range w.pods {
		answer, err := w.attach(p, pod, i)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			pair.server = netip.AddrPortFrom(answer, servedPort).String()
		}
	}
	return pair, w.pods[0].do(pair.serve)
}

// underGroups writes the subnet's group and others, one for each further pod.
func (b *bench) underGroups(w *world, rules []object, groups int) (plugin, error) {
	all := []object{group("subnet", rules)}
	for i := range groups {
		all = append(all, group(fmt.Sprintf("group-%d", i), realistic(20)))
	}
	document, err := w.document(all...)
	if err != nil {
		return plugin{}, err
	}
	return b.judgedIn(w, document)
}

// attach attaches the i-th pod; from the third on each has a group of its own.
func (w *world) attach(p plugin, to *pod, i int) (addr netip.Addr, err error) {
	if i >= 2 {
		p.args = fmt.Sprintf("VNET_NSG=group-%d", i-2)
	}
	err = w.node.do(func() error {
		_, err := p.add(to)
		return err
	})
	if err != nil {
		return addr, err
	}
	eth0, err := to.nl.LinkByName("eth0")
	if err != nil {
		return addr, err
	}
	list, err := to.nl.AddrList(eth0, 2) // AF_INET
	if err != nil || len(list) == 0 {
		return addr, fmt.Errorf("the pod's address: %d found, %w", len(list), err)
	}
	addr, _ = netip.AddrFromSlice(list[0].IP)
	return addr.Unmap(), nil
}

// serve accepts connections for as long as the process lives.
func (p *judgedPair) serve() error {
	l, err := net.Listen("tcp", p.server)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	return nil
}

// connect opens connections, one after the other, and aborts each: there is no
// state left behind that the next trial would meet.
func (p *judgedPair) connect() (took time.Duration, err error) {
	err = p.pods[1].do(func() error {
		took, err = stopwatch(func() error {
			for range connections {
				c, err := net.Dial("tcp4", p.server)
				if err != nil {
					return err
				}
				_ = c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
			return nil
		})
		return err
	})
	return took / connections, err
}

// bulk returns the time for a gigabyte, as iperf3 measures it in a second.
func (p *judgedPair) bulk() (took time.Duration, err error) {
	host, _, _ := net.SplitHostPort(p.server)
	server := exec.Command("iperf3", "-s", "-1", "-p", fmt.Sprint(servedPort+1))
	if err := p.pods[0].do(server.Start); err != nil {
		return 0, fmt.Errorf("start iperf3: %w", err)
	}
	for range 100 { // until the server listens
		var out []byte
		client := exec.Command("iperf3", "-c", host, "-p", fmt.Sprint(servedPort+1), "-t", "1", "-O", "0", "-J")
		err = p.pods[1].do(func() (err error) { out, err = client.Output(); return err })
		if err == nil {
			took, err = perGigabyte(out)
		}
		if err == nil {
			return took, server.Wait()
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = server.Process.Kill()
	_ = server.Wait()
	return 0, fmt.Errorf("iperf3: %w", err)
}

func perGigabyte(report []byte) (time.Duration, error) {
	var answer struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(report, &answer); err != nil {
		return 0, fmt.Errorf("read iperf3's report: %w", err)
	}
	if answer.End.Received.BitsPerSecond <= 0 {
		return 0, fmt.Errorf("iperf3 received nothing: %s", report)
	}
	return time.Duration(8e9 / answer.End.Received.BitsPerSecond * float64(time.Second)), nil
}

// bypass lets everything pass before any group judges it, and judge ends that.
const (
	bypass = "iptables -w -t mangle -I FORWARD -j ACCEPT"
	judge  = "iptables -w -t mangle -D FORWARD 1"
)

// unjudged runs a trial of the pair while no group has a say. The peer is the same
// pods on the same node: two nodes differ by more than the rules cost.
func (p *judgedPair) unjudged(run func() (time.Duration, error)) func() (time.Duration, error) {
	return func() (took time.Duration, err error) {
		if err := p.node.do(func() error { return shell(bypass) }); err != nil {
			return 0, err
		}
		took, err = run()
		return took, errors.Join(err, p.node.do(func() error { return shell(judge) }))
	}
}

// measureConnect compares opening a connection through a group's rules with
// opening one that is tracked and judged by nobody.
func measureConnect(b *bench) ([]row, error) {
	cases := []struct {
		name   string
		rules  []object
		groups int
		linear bool
		target float64
	}{
		{"connect-1", realistic(1), 0, false, 0},
		{"connect-10", realistic(10), 0, false, 0},
		{"connect-100", realistic(100), 0, false, 0},
		{"connect-1000", realistic(1000), 0, false, targetConnect},
		{"connect-1000-linear", realistic(1000), 0, true, 0},
		{"connect-adversarial", adversarial(1000), 0, false, 0},
		{"connect-10-groups", realistic(100), 10, false, 0},
		{"connect-50-groups", realistic(100), 50, false, 0},
	}
	var rows []row
	for _, c := range cases {
		if !b.wants(c.name) {
			continue
		}
		pair, err := b.pairUnder(c.rules, c.groups)
		if err == nil && c.linear {
			err = pair.makeLinear()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		r, err := b.judgedAgainstFree(c.name, pair, pair.connect, 4, c.target)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// measureBulk compares the throughput of one connection.
func measureBulk(b *bench) ([]row, error) {
	rules := append(realistic(999), rule("bulk", 4095, "Allow", "Tcp", "*", fmt.Sprint(servedPort+1)))
	pair, err := b.pairUnder(rules, 0)
	if err != nil {
		return nil, err
	}
	r, err := b.judgedAgainstFree("bulk-1000", pair, pair.bulk, 8, targetBulk)
	return []row{r}, err
}

func (b *bench) judgedAgainstFree(name string, p *judgedPair, run func() (time.Duration, error), weight int, target float64) (row, error) {
	ours, peer := &trial{name: name, run: run}, &trial{name: "no group", run: p.unjudged(run)}
	if err := inTurn(b.ctx, b.roundsOf(weight), []*trial{ours, peer}); err != nil {
		return row{}, err
	}
	return versus(name, ours, peer, target), nil
}

func shell(command string) error {
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return nil
}
