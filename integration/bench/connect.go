package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"time"
)

// connections are opened in one trial.
const connections = 400

// tracked makes a node track its connections, as every node with services does,
// with or without security groups.
const tracked = "iptables -w -t mangle -A POSTROUTING -m conntrack --ctstate INVALID -j DROP"

// judgedPair is a node with a client and a server pod, which a group's rules are
// between; without a group nothing is.
type judgedPair struct {
	*world
	server string // its address and port
}

// pairUnder makes a pair under so many groups; without rules under none. All pods
// have the subnet's group, which is the first.
func (b *bench) pairUnder(rules []object, groups int) (*judgedPair, error) {
	w, err := newWorld(b.dir, 2+groups)
	if err != nil {
		return nil, err
	}
	p, err := b.oursIn(w)
	if rules != nil {
		p, err = b.underGroups(w, rules, groups)
	}
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
	if i >= 2 && strings.Contains(string(p.conf), `"nsg"`) {
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

func shell(command string) error {
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return nil
}

// measureConnect compares opening a connection through a group's rules with
// opening one that is tracked and judged by nobody.
func measureConnect(b *bench) ([]row, error) {
	free, err := b.pairUnder(nil, 0)
	if err != nil {
		return nil, err
	}
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
	baseline := &trial{name: "no group", run: free.connect}
	trials := []*trial{baseline}
	for _, c := range cases {
		pair, err := b.pairUnder(c.rules, c.groups)
		if err == nil && c.linear {
			err = pair.makeLinear()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		trials = append(trials, &trial{name: c.name, run: pair.connect})
	}
	if err := inTurn(b.ctx, b.roundsOf(4), trials); err != nil {
		return nil, err
	}
	var rows []row
	for i, c := range cases {
		rows = append(rows, versus(c.name, trials[i+1], baseline, c.target))
	}
	return rows, nil
}

// measureBulk compares the throughput of one connection.
func measureBulk(b *bench) ([]row, error) {
	free, err := b.pairUnder(nil, 0)
	if err != nil {
		return nil, err
	}
	rules := append(realistic(999), rule("bulk", 4095, "Allow", "Tcp", "*", fmt.Sprint(servedPort+1)))
	judged, err := b.pairUnder(rules, 0)
	if err != nil {
		return nil, err
	}
	ours, peer := &trial{name: "1000 rules", run: judged.bulk}, &trial{name: "no group", run: free.bulk}
	if err := inTurn(b.ctx, b.roundsOf(8), []*trial{ours, peer}); err != nil {
		return nil, err
	}
	return []row{versus("bulk-1000", ours, peer, targetBulk)}, nil
}
