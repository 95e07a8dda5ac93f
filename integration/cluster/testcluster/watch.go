package testcluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Watch is a loop in a pod that tries, again and again, connections which must never
// come about. It goes on while the API server is away.
type Watch struct {
	from *Pod
	file string   // its files' names begin so
	urls []string // and who must not answer there
}

// atATime is how many connections to a server are tried at a time: each takes long to
// be given up.
const atATime = 3

// watchRounds bounds the loop: a quarter of an hour at least.
const watchRounds = 2000

// WatchDenied begins to watch, from a pod, that nothing is heard from these servers.
func WatchDenied(tb testing.TB, from *Pod, servers ...*Pod) *Watch {
	tb.Helper()
	w := &Watch{from: from, file: "/dev/shm/" + Unique("watch")}
	for _, s := range servers {
		for _, a := range s.Addrs {
			w.urls = append(w.urls, slices.Repeat([]string{fmt.Sprintf("http://%s/hostname,%s", hostPort(a.String(), s.TCP), s.Hostname())}, atATime)...)
		}
	}
	// One round takes as long as silence does. Who may answer is another pod that has
	// come to the same address.
	script := fmt.Sprintf(`( n=0; i=0
while [ ! -e %[1]s.stop ] && [ $i -lt %[2]d ]; do
	for u in %[3]s; do
		n=$((n+1))
		( [ "$(curl -g -s --connect-timeout 0.4 -m 1 "${u%%,*}")" != "${u##*,}" ] || echo "$(date +%%T) $u" >>%[1]s.passed ) &
	done
	wait; i=$((i+1)); echo $n >%[1]s.count
done ) >/dev/null 2>&1 &`, w.file, watchRounds, strings.Join(w.urls, " "))
	if out, err := from.Shell(script); err != nil {
		tb.Fatalf("begin to watch from %s: %v %s", from.Name, err, out)
	}
	w.AwaitMore(tb)
	return w
}

// AwaitMore waits until every connection was tried once more.
func (w *Watch) AwaitMore(tb testing.TB) {
	tb.Helper()
	before, err := w.tries()
	if err != nil {
		before = 0 // none yet
	}
	Await(tb, time.Minute, "the watch in "+w.from.Name+" to go on", func() error {
		now, err := w.tries()
		if err == nil && now < before+2*len(w.urls) {
			err = fmt.Errorf("it has tried %d connections, %d before", now, before)
		}
		return err
	})
}

func (w *Watch) tries() (int, error) {
	out, err := w.from.Shell("cat " + w.file + ".count")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// End ends the watch and the test fails if a connection came about. It returns how
// many were tried.
func (w *Watch) End(tb testing.TB) int {
	tb.Helper()
	w.AwaitMore(tb)
	out, err := w.from.Shell(fmt.Sprintf("touch %[1]s.stop; sleep 1.5; cat %[1]s.passed 2>/dev/null; true", w.file))
	if err != nil {
		tb.Errorf("end the watch in %s: %v", w.from.Name, err)
	}
	tries, err := w.tries()
	if err != nil {
		tb.Errorf("read the count of the watch in %s: %v", w.from.Name, err)
	}
	if passed := strings.TrimSpace(out); passed != "" {
		tb.Errorf("%d of %d connections from %s that must stay denied came about:\n%s",
			strings.Count(passed, "\n")+1, tries, w.from.Name, tail(passed))
	}
	return tries
}

// Stream is one connection that a pod holds open and asks a question on again and
// again.
type Stream struct {
	from *Pod
	file string
}

// OpenStream opens it and waits for the first answer.
func OpenStream(tb testing.TB, from, server *Pod, ipv6 bool) *Stream {
	tb.Helper()
	s := &Stream{from, "/dev/shm/" + Unique("stream")}
	script := fmt.Sprintf(`( ( i=0; while [ ! -e %[1]s.stop ] && [ $i -lt 3000 ]; do
	printf 'GET /hostname HTTP/1.1\r\nHost: x\r\n\r\n'; sleep 0.2; i=$((i+1))
done ) | nc %[2]s %[3]d >%[1]s ) >/dev/null 2>&1 &`, s.file, server.Addr(ipv6), server.TCP)
	if out, err := from.Shell(script); err != nil {
		tb.Fatalf("open a stream from %s to %s: %v %s", from.Name, server.Name, err, out)
	}
	s.Goes(tb)
	return s
}

func (s *Stream) answers() (int, error) {
	out, err := s.from.Shell("grep -c HTTP/1.1 " + s.file + " || true")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// Goes waits until there are more answers, and fails the test if none come.
func (s *Stream) Goes(tb testing.TB) {
	tb.Helper()
	before, err := s.answers()
	if err != nil {
		tb.Fatal(err)
	}
	Await(tb, 20*time.Second, "another answer on the stream from "+s.from.Name, func() error {
		now, err := s.answers()
		if err == nil && now <= before {
			err = fmt.Errorf("there are still %d", now)
		}
		return err
	})
}

// Close ends the stream.
func (s *Stream) Close(tb testing.TB) {
	tb.Helper()
	if _, err := s.from.Shell("touch " + s.file + ".stop"); err != nil {
		tb.Errorf("close the stream from %s: %v", s.from.Name, err)
	}
}
