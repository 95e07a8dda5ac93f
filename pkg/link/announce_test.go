package link

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

var announcer = net.HardwareAddr{0x02, 0x11, 0x22, 0x33, 0x44, 0x55}

func TestGratuitousARPBytes(t *testing.T) {
	const want = "0001" + "0800" + "06" + "04" + "0001" + // Ethernet, IPv4, lengths, request
		"021122334455" + "0af10407" + "000000000000" + "0af10407"
	got := hex.EncodeToString(gratuitousARP(netip.MustParseAddr("10.241.4.7"), announcer))
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	t.Logf("%d bytes", len(got)/2)
}

func TestUnsolicitedNABytes(t *testing.T) {
	const want = "60000000" + "0020" + "3a" + "ff" + // IPv6, 32 bytes of ICMPv6, hop limit 255
		"fd0002410000000000000000000004ab" + "ff020000000000000000000000000001" +
		"88" + "00" + "CKSM" + "a0000000" + // router and override
		"fd0002410000000000000000000004ab" + "0201" + "021122334455"
	packet := unsolicitedNA(netip.MustParseAddr("fd00:241::4ab"), announcer)
	got := hex.EncodeToString(packet)
	if sum := hex.EncodeToString(packet[42:44]); got != strings.Replace(want, "CKSM", sum, 1) || sum == "0000" {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if err := receiverCheck(packet); err != nil {
		t.Error(err)
	}
	t.Logf("%d bytes", len(packet))
}

// receiverCheck is RFC 1071 from the receiver's side, in 64 bits and without
// knowledge of where the checksum stands: all words with it add up to ones.
func receiverCheck(packet []byte) error {
	var sum uint64
	words := bytes.Clone(packet[8:])                                     // both addresses and the message
	words = binary.BigEndian.AppendUint32(words, uint32(len(packet)-40)) // upper-layer length
	words = binary.BigEndian.AppendUint32(words, uint32(packet[6]))      // next header
	for ; len(words) > 0; words = words[2:] {
		sum += uint64(words[0])<<8 | uint64(words[1])
	}
	if rest := sum % 0xffff; rest != 0 || sum == 0 {
		return fmt.Errorf("the checksum leaves %#x", rest)
	}
	return nil
}

func TestChecksumOfAnyAdvertisement(t *testing.T) {
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
		mac := rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac")
		packet := unsolicitedNA(netip.AddrFrom16([16]byte(raw)), mac)
		if err := receiverCheck(packet); err != nil {
			t.Fatal(err)
		}
		packet[50] ^= 0x40
		if receiverCheck(packet) == nil {
			t.Fatal("the check accepts a changed packet")
		}
	})
	t.Logf("%d advertisements", count)
}

// The frames arrive at the uplink's neighbours, and the socket that sent them
// goes although nobody waits for it.
func TestAnnounceArrives(t *testing.T) {
	inNode(t)
	lan := uplinks(t, "up0")
	heard := capture(t, lan, "far-up0")
	up, found, err := openHost(t).Link("up0")
	if err != nil || !found {
		t.Fatalf("up0: %v, %v", found, err)
	}
	addrs := addrList("10.241.4.7", "fd00:241::4ab", "10.241.4.8")
	start := time.Now()
	must(t, Announce(up, addrs))
	took := time.Since(start)
	mac := hex.EncodeToString(up.MAC)
	want := map[string]bool{}
	for _, a := range addrs {
		if a.Is4() {
			want["ffffffffffff"+mac+"0806"+hex.EncodeToString(gratuitousARP(a, up.MAC))] = true
		} else {
			want["333300000001"+mac+"86dd"+hex.EncodeToString(unsolicitedNA(a, up.MAC))] = true
		}
	}
	await(t, "announcements at the neighbour", func() bool {
		for _, frame := range heard() {
			delete(want, frame)
		}
		return len(want) == 0
	})
	start = time.Now()
	await(t, "end of the packet socket", func() bool { return packetSockets(t) == 0 })
	t.Logf("%d frames arrived; the call took %v, the socket was gone %v later", len(addrs), took, time.Since(start))
}

// Many calls leave no socket, descriptor or error behind.
func TestAnnounceManyTimes(t *testing.T) {
	inNode(t)
	uplinks(t, "up0")
	up, _, err := openHost(t).Link("up0")
	must(t, err)
	const calls = 200
	before := descriptors(t)
	for range calls {
		must(t, Announce(up, addrList("10.241.4.7")))
	}
	await(t, "end of all packet sockets", func() bool { return packetSockets(t) == 0 })
	if after := descriptors(t); after > before+20 { // the runtime may have opened some of its own
		t.Errorf("%d descriptors before, %d after %d calls", before, after, calls)
	}
	testhost.Sh(t, "ip link set up0 down")
	err = Announce(up, addrList("10.241.4.7"))
	if want := "announce 10.241.4.7 on the uplink up0: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("on an uplink that is down: %v, want %q", err, want)
	}
	await(t, "end of the packet socket after an error", func() bool { return packetSockets(t) == 0 })
	t.Logf("%d calls", calls)
}

// packetSockets counts those of the thread's namespace.
func packetSockets(t testing.TB) int {
	t.Helper()
	return strings.Count(testhost.Sh(t, "cat /proc/self/net/packet"), "\n") // the first line is a heading
}

func descriptors(t testing.TB) int {
	t.Helper()
	return strings.Count(testhost.Sh(t, fmt.Sprintf("ls /proc/%d/fd", unix.Getpid())), "\n")
}

// capture listens to all frames on an interface and gives a function that
// returns those that came since its last call.
func capture(t testing.TB, n namespace, name string) func() []string {
	t.Helper()
	var fd int
	n.in(t, func() {
		iface, err := net.InterfaceByName(name)
		must(t, err)
		all := bigEndian16(unix.ETH_P_ALL)
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}))
	})
	return func() []string {
		var frames []string
		buf := make([]byte, 2048)
		for {
			count, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return frames
			}
			frames = append(frames, hex.EncodeToString(buf[:count]))
		}
	}
}
