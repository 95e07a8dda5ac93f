package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// randomJudges are two groups with rules for everything.
func randomJudges(t testing.TB, r *rand.Rand, rules int) *judges {
	t.Helper()
	made := func(name string) *nsg.Policy {
		g, findings := nsg.New(nsgtest.Group(r, name, rules))
		if g == nil {
			t.Fatal(findings)
		}
		p, findings := nsg.NewPolicy(g, nsgtest.Tags())
		if p == nil {
			t.Fatal(findings)
		}
		return p
	}
	j := &judges{lines: map[*nsg.PolicyRule][]byte{}, subnet: made("subnet"), iface: made("interface")}
	if err := j.prepare(); err != nil {
		t.Fatal(err)
	}
	return j
}

// randomFlow is a flow and how it is written.
func randomFlow(r *rand.Rand, p *nsg.Policy) (nsg.Flow, flowText) {
	d := []nsg.Direction{nsg.Inbound, nsg.Outbound}[r.IntN(2)]
	f := nsgtest.Flow(r, p, d, r.IntN(3) == 0)
	for f.Protocol.String()[0] <= '9' || f.Local.Is4() != f.Remote.Is4() { // what no text names
		f = nsgtest.Flow(r, p, d, r.IntN(3) == 0)
	}
	end := func(addr string, port uint16) string {
		if f.Protocol != nsg.TCP && f.Protocol != nsg.UDP {
			return addr
		}
		if strings.Contains(addr, ":") {
			addr = "[" + addr + "]"
		}
		return fmt.Sprintf("%s:%d", addr, port)
	}
	return f, flowText{f.Direction.String(), f.Protocol.String(), end(f.Local.String(), f.LocalPort), end(f.Remote.String(), f.RemotePort), f.LocalASGs, f.RemoteASGs}
}

// line writes the flow as JSON; some in ways that only the strict reader takes.
func line(t testing.TB, r *rand.Rand, f flowText) string {
	t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	s := string(text)
	switch r.IntN(8) {
	case 0:
		s = strings.ReplaceAll(s, `"protocol"`, "\t\"prot\\u006fcol\" ")
	case 1:
		s = " " + strings.ReplaceAll(s, ",", " , ") + "\r"
	}
	return s
}

// failingReader ends with an error instead of io.EOF.
type failingReader struct{ io.Reader }

func (r failingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrClosedPipe
	}
	return n, err
}

func TestStreamKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	j := randomJudges(t, r, 60)
	var in, want strings.Builder
	const flows = 20000
	for i := range flows {
		f, written := randomFlow(r, []*nsg.Policy{j.subnet, j.iface}[i%2])
		in.WriteString(line(t, r, written) + "\n" + []string{"", "\n", " \t\n"}[r.IntN(3)])
		want.Write(j.lines[nsg.Evaluate(f, j.subnet, j.iface).Rule])
	}
	in.WriteString(`{"direction":"Inbound","protocol":"UDP","local":"10.0.0.1:5","remote":"x:5"}`)
	readers := map[string]io.Reader{
		"whole":     strings.NewReader(in.String()),
		"in pieces": iotestPieces(r, in.String()),
	}
	for name, reader := range readers {
		var out bytes.Buffer
		err := j.stream(reader, &out)
		if err == nil || !strings.Contains(err.Error(), `: remote "x:5"`) {
			t.Errorf("%s: the bad last line: %v", name, err)
		}
		if out.String() != want.String() {
			t.Errorf("%s: %d bytes of answers, want %d; or another order", name, out.Len(), want.Len())
		}
	}
	err := j.stream(failingReader{strings.NewReader("\n\n{")}, io.Discard)
	if err == nil || err.Error() != "line 3: "+io.ErrClosedPipe.Error() {
		t.Errorf("a read that fails: %v", err)
	}
	t.Logf("%d flows in %d ways", flows, len(readers))
}

// iotestPieces reads a text in pieces of random sizes.
func iotestPieces(r *rand.Rand, text string) io.Reader {
	var parts []io.Reader
	for text != "" {
		n := min(len(text), 1+r.IntN(40000))
		parts = append(parts, strings.NewReader(text[:n]))
		text = text[n:]
	}
	return io.MultiReader(parts...)
}

// The answer to a line comes before the next line is written.
func TestStreamAnswersAtOnce(t *testing.T) {
	j := randomJudges(t, rand.New(rand.NewPCG(3, 4)), 5)
	questions, ask := io.Pipe()
	answers, answer := io.Pipe()
	done := make(chan error)
	go func() { done <- j.stream(questions, answer) }()
	const rounds = 50
	for i := range rounds {
		fmt.Fprintf(ask, `{"direction":"Inbound","protocol":"UDP","local":"10.0.0.1:%d","remote":"10.0.0.2:5"}`+"\n", i)
		buf := make([]byte, 4096)
		n, err := answers.Read(buf)
		if err != nil || !bytes.HasSuffix(buf[:n], []byte("}\n")) {
			t.Fatalf("round %d: %q %v", i, buf[:n], err)
		}
	}
	ask.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Logf("%d rounds", rounds)
}

func TestBadLines(t *testing.T) {
	const good = `{"direction":"Inbound","protocol":"TCP","local":"10.241.0.4:443","remote":"8.8.8.8:1"}`
	cases := map[string][]string{
		`{"direction":"Up","protocol":"TCP","local":"10.241.0.4:443","remote":"8.8.8.8:1"}`:                          {"direction", `"Up"`},
		`{"direction":"Inbound","protocol":6,"local":"10.241.0.4:443","remote":"8.8.8.8:1"}`:                         {"protocol", `"6"`, "string"},
		`{"direction":"Inbound","protocol":"TCP","local":"10.241.0.4","remote":"8.8.8.8:1"}`:                         {"local", `"10.241.0.4"`, "no port"},
		`{"direction":"Inbound","protocol":"TCP","remote":"8.8.8.8:1"}`:                                              {"local", "no address"},
		`{"direction":"Inbound","protocol":"TCP","local":"10.241.0.4:443"}`:                                          {"remote", "address"},
		`{"direction":"Inbound","protocol":"TCP","local":"10.241.0.4:443","remote":"8.8.8.8:1","port":5}`:            {"port", `"5"`, "unknown"},
		`{"direction":"Inbound","protocol":"TCP","local":"10.241.0.4:443","local":"1.1.1.1:1","remote":"8.8.8.8:1"}`: {"local", "twice"},
		`{"Direction":"Inbound"}`: {"Direction", "unknown"},
		`{"direction":"Inbound","protocol":"TCP","local":"10.241.0.4:443","remote":"8.8.8.8:1","localASGs":"web"}`:  {"localASGs", "web", "list"},
		`{"direction":"Inbound","protocol":"TCP","local":"10.241.0.4:443","remote":"8.8.8.8:1","localASGs":[null]}`: {"localASGs", "null", "list"},
		`{"direction":"Inbound","protocol":"TCP","local":"10.241.0.4:443","remote":"8.8.8.8:1","remoteASGs":[""]}`:  {"remoteASGs", `""`},
		`{"direction":null}`: {"direction", "null", "string"},
		`[]`:                 {"[]", "object"},
		`null`:               {"object"},
		`{"direction"}`:      {"JSON"},
		`{"direction":"In`:   {"JSON"},
		good + good:          {"behind"},
		good[:len(good)-1]:   {"JSON"},
	}
	dir := t.TempDir()
	for bad, words := range cases {
		path := filepath.Join(dir, "flows")
		if err := os.WriteFile(path, []byte(good+"\n\n"+good+"\n"+bad+"\n"+good+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a := vnetctl(append([]string{"test-ip-flow", "--interface-nsg", "web-nsg", "--flows", path}, webDocuments...)...)
		a.fails(t, exitFailed, append(words, path+": line 4: ")...)
		expectText(t, "answers before "+bad, a.stdout, strings.Repeat(`{"access":"Allow","ruleName":"securityRules/allow-https","nsg":"web-nsg"}`+"\n", 2))
	}
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, bytes.Repeat([]byte(" "), 3*maxLine), 0o600); err != nil {
		t.Fatal(err)
	}
	vnetctl(append([]string{"test-ip-flow", "--nsg", "web-nsg", "--flows", long}, webDocuments...)...).fails(t, exitFailed, "line 1", "longer")
	vnetctl(append([]string{"test-ip-flow", "--nsg", "web-nsg", "--flows", dir + "/none"}, webDocuments...)...).fails(t, exitFailed, "--flows", "none")
	t.Logf("%d bad lines", len(cases)+1)
}

// What the fast reader takes, the strict one takes, and as the same flow.
func FuzzFlowLine(f *testing.F) {
	for _, s := range []string{
		`{"direction":"Inbound","protocol":"TCP","local":"10.241.0.4:443","remote":"8.8.8.8:1","localASGs":["a","b"],"remoteASGs":[]}`,
		` { "local" : ":80" , "remote":"*" } `, `{"local":"","local":"x"}`, `{"localASGs":[],"localASGs":[]}`, `{"remote":"\u0041"}`, `{}`, "{\"local\":\"\x7f\"}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.Contains(line, "\n") {
			return
		}
		var fast, strict flowText
		r := lineReader{rest: line}
		if !r.flow(&fast) {
			return
		}
		if err := strict.unmarshalStrictly(line); err != nil {
			t.Fatalf("%q: only the fast reader takes it: %v", line, err)
		}
		if !reflect.DeepEqual(fast, strict) {
			t.Fatalf("%q: %+v and %+v", line, fast, strict)
		}
	})
}

// endless repeats a text until that many bytes were read.
type endless struct {
	text string
	at   int
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	e.left -= n
	return n, nil
}

// BenchmarkFlows answers lines with a group of that many rules on both levels.
func BenchmarkFlows(b *testing.B) {
	for _, rules := range []int{10, 1000} {
		b.Run(fmt.Sprint(rules), func(b *testing.B) {
			r := rand.New(rand.NewPCG(5, 6))
			j := randomJudges(b, r, rules)
			var text strings.Builder
			const lines = 10000
			for range lines {
				_, f := randomFlow(r, j.subnet)
				written, err := json.Marshal(f)
				if err != nil {
					b.Fatal(err)
				}
				text.Write(append(written, '\n'))
			}
			b.SetBytes(int64(text.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if err := j.stream(&endless{text: text.String(), left: text.Len()}, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*lines/b.Elapsed().Seconds(), "flows/s")
		})
	}
}
