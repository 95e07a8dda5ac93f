package nlsock

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The socket is in the other namespace, and no thread stays there, however many
// goroutines there are for a thread.
func TestDialIn(t *testing.T) {
	c := inNamespace(t, unix.NETLINK_ROUTE) // whose thread ends with the test
	if err := c.Do(bridge("br0")); err != nil {
		t.Fatal(err)
	}
	there, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	home := make(chan string)
	go func() {
		here, _ := os.Readlink("/proc/thread-self/ns/net") // of a thread that Go may put any goroutine on
		home <- here
	}()
	want := <-home
	const goroutines, rounds = 16, 50
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				dialOnce(t, int(there), want)
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	t.Logf("%d sockets", goroutines*rounds)
}

func dialOnce(t *testing.T, there int, home string) {
	t.Helper()
	c, err := DialIn(unix.NETLINK_ROUTE, there)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	if _, err := c.Query(link("br0")); err != nil {
		t.Errorf("the socket is not in the namespace with br0: %v", err)
	}
	if here, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || here != home {
		t.Errorf("the goroutine is in %s instead of %s: %v", here, home, err)
	}
}

func TestDialInNoNamespace(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := DialIn(unix.NETLINK_ROUTE, int(file.Fd())); !errors.Is(err, unix.EINVAL) {
		t.Errorf("%v, want EINVAL", err)
	}
	const noProtocol = 99
	self, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if _, err := DialIn(noProtocol, int(self.Fd())); !errors.Is(err, unix.EPROTONOSUPPORT) {
		t.Errorf("%v, want EPROTONOSUPPORT", err)
	}
	t.Log("2 mistakes")
}
