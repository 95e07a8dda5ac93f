package testcluster

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Protocols of flows.
const (
	TCP  = "tcp"
	UDP  = "udp"
	ICMP = "icmp"
)

// Verdict is what became of a flow.
type Verdict string

// What becomes of flows. A denied packet is dropped: silence. A refusal is none of the
// network's answers, so that a test which expects silence sees a missing server.
const (
	Answered Verdict = "answered"
	Silent   Verdict = "silent"
	Refused  Verdict = "refused"
)

// Flow is a connection to a server, or an echo request.
type Flow struct {
	From   Place
	Proto  string
	To     string // address or name
	Port   int    // not with ICMP
	Want   Verdict
	By     []string     // who may answer; none: anybody. Not with ICMP
	Client []netip.Addr // as whom the server may see the client; none: as anybody. Not with ICMP
	Why    string       // a word for the report
}

func (f Flow) String() string {
	s := fmt.Sprintf("%s → %s %s:%d", f.From.Title(), f.Proto, f.To, f.Port)
	if f.Why != "" {
		s += " (" + f.Why + ")"
	}
	return s
}

// Outcome is what a flow came to.
type Outcome struct {
	Verdict Verdict
	Server  string     // who answered
	Client  netip.Addr // as whom it saw the client
	Raw     string
}

// command is the shell's way to send the flow. All clients give up after two
// seconds, for a machine may be busy. Over TCP one connection asks both questions, as
// the next one may come to another server.
func (f Flow) command() string {
	host := f.To
	switch f.Proto {
	case ICMP:
		family := ""
		if strings.Contains(f.To, ":") {
			family = "-6 "
		}
		return "ping " + family + "-c 1 -W 2 " + host
	case UDP:
		ask := func(what string) string { return fmt.Sprintf("$(printf %s | nc -u -w 2 %s %d)", what, host, f.Port) }
		return "printf '%s/%s' \"" + ask("hostname") + `" "` + ask("clientip") + `"`
	}
	url := "http://" + hostPort(host, f.Port)
	return fmt.Sprintf(`curl -g -s -S --connect-timeout 2 -m 4 -w / %s/hostname %s/clientip`, url, url)
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func (f Flow) outcome(code int, out string) Outcome {
	o := Outcome{Verdict: Silent, Raw: fmt.Sprintf("exit status %d, %q", code, out)}
	switch {
	case f.Proto == ICMP && code == 0:
		o.Verdict = Answered
	case f.Proto == ICMP:
	case f.Proto == TCP && code == 28: // curl's own: no answer in time
	case f.Proto == TCP && code != 0:
		o.Verdict = Refused
	default:
		server, client, found := strings.Cut(out, "/")
		if !found || server == "" || client == "" {
			return o
		}
		o.Verdict, o.Server = Answered, server
		if addr, err := netip.ParseAddrPort(strings.Trim(client, "/ ")); err == nil {
			o.Client = addr.Addr().Unmap()
		}
	}
	return o
}

// fault is what is wrong with the outcome; "" if nothing is.
func (f Flow) fault(o Outcome) string {
	switch {
	case o.Verdict != f.Want:
		return fmt.Sprintf("%s: %s, not %s: %s", f, o.Verdict, f.Want, o.Raw)
	case f.Want != Answered || f.Proto == ICMP:
	case len(f.By) > 0 && !slices.Contains(f.By, o.Server):
		return fmt.Sprintf("%s: answered by %q, not by one of %q", f, o.Server, f.By)
	case len(f.Client) > 0 && !slices.Contains(f.Client, o.Client):
		return fmt.Sprintf("%s: the server %s sees %s, not one of %v", f, o.Server, o.Client, f.Client)
	}
	return ""
}

// atOnce is how many flows of one place run at a time.
const atOnce = 25

// Send sends the flows, many at a time, and returns what became of each.
func Send(flows []Flow) ([]Outcome, error) {
	places := map[Place][]int{}
	for i, f := range flows {
		places[f.From] = append(places[f.From], i)
	}
	outcomes, errs := make([]Outcome, len(flows)), make(chan error, len(places))
	var group sync.WaitGroup
	for place, indices := range places {
		group.Go(func() {
			for part := range slices.Chunk(indices, atOnce) {
				if err := sendFrom(place, flows, part, outcomes); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
		return outcomes, nil
	}
}

// sendFrom sends flows of one place. Each prints one line, by its number.
func sendFrom(place Place, flows []Flow, indices []int, outcomes []Outcome) error {
	script := `try() { out=$(sh -c "$2" 2>&1); code=$?; printf '@%s %s %s\n' "$1" "$code" "$(printf %s "$out" | tr '\n' ' ')"; }` + "\n"
	for _, i := range indices {
		script += fmt.Sprintf("try %d %s &\n", i, quoted(flows[i].command()))
	}
	out, err := place.Shell(script + "wait")
	if err != nil {
		return fmt.Errorf("send %d flows from %s: %w", len(indices), place.Title(), err)
	}
	seen := 0
	for line := range strings.Lines(out) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(words) < 2 || !strings.HasPrefix(words[0], "@") {
			continue
		}
		i, err := strconv.Atoi(words[0][1:])
		code, err2 := strconv.Atoi(words[1])
		if err != nil || err2 != nil || i < 0 || i >= len(flows) {
			continue
		}
		outcomes[i] = flows[i].outcome(code, strings.Join(words[2:], ""))
		seen++
	}
	if seen != len(indices) {
		return fmt.Errorf("of %d flows from %s only %d told how they went: %q", len(indices), place.Title(), seen, out)
	}
	return nil
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// settle is how long the cluster may take until flows go as they should: rules of
// services and groups come a moment after their objects.
const settle = 2 * time.Minute

// Expect sends the flows until all of them go as they should in one round. It
// returns how long that took.
func Expect(tb testing.TB, flows ...Flow) time.Duration {
	tb.Helper()
	began, rounds := time.Now(), 0
	for {
		faults := Faults(tb, flows)
		rounds++
		if len(faults) == 0 {
			return time.Since(began)
		}
		if time.Since(began) > settle {
			const shown = 40
			tb.Fatalf("%d of %d flows do not go as they should, in round %d:\n%s",
				len(faults), len(flows), rounds, strings.Join(faults[:min(shown, len(faults))], "\n"))
		}
		time.Sleep(poll)
	}
}

// Faults sends the flows and tells what is not as it should be. A flow that should have
// been answered and was not is sent once more, among fewer: a busy machine lets some of
// many wait too long.
func Faults(tb testing.TB, flows []Flow) []string {
	tb.Helper()
	outcomes, err := Send(flows)
	if err == nil {
		err = sendAgain(flows, outcomes)
	}
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	for i, f := range flows {
		if fault := f.fault(outcomes[i]); fault != "" {
			faults = append(faults, fault)
		}
	}
	return faults
}

// sendAgain sends what should have been answered and met silence.
func sendAgain(flows []Flow, outcomes []Outcome) error {
	var late []Flow
	var at []int
	for i, f := range flows {
		if f.Want == Answered && outcomes[i].Verdict == Silent {
			late, at = append(late, f), append(at, i)
		}
	}
	again, err := Send(late)
	for i, o := range again {
		outcomes[at[i]] = o
	}
	return err
}
