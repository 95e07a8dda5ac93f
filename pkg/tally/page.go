package tally

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// suffix is what a file's name has after the network's.
const suffix = ".tally"

// magic begins a file of this layout, as this machine's processors see it. Another
// layout needs another one.
const magic uint64 = 0x31594c4c4154767e // "~vTALLY1"

// pageSize is a file's size in bytes.
const pageSize = 4096

// page is a file's contents.
type page struct {
	magic uint64
	_     [7]uint64
	verbs [verbs]verbPage
	_     [pageSize/8 - 8 - int(verbs)*verbWords]uint64
}

// verbWords is the size of what is counted of a verb, in words of 8 bytes. It has
// room for more.
const verbWords = 64

type verbPage struct {
	sum     uint64 // nanoseconds
	buckets [Buckets]uint64
	codes   [codes]uint64
	_       [verbWords - 1 - Buckets - codes]uint64
}

// The layout fills the file exactly, or this does not compile.
var _ = [1]struct{}{}[unsafe.Sizeof(page{})-pageSize]

// errForeign is a file that is no tally of this layout.
var errForeign = errors.New("it is not a tally of this version")

// withPage calls fn with the mapped file of a network. A writer makes the file, or
// replaces one that is not of this layout.
func withPage(stateDir, network string, write bool, fn func(*page)) error {
	if network == "" || strings.ContainsAny(network, "/\x00") {
		return fmt.Errorf("the tally of network %q: not a name of a network", network)
	}
	path := filepath.Join(stateDir, network+suffix)
	err := onPage(path, write, fn)
	if write && errors.Is(err, errForeign) {
		if err = os.Remove(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			err = onPage(path, write, fn)
		}
	}
	if err != nil {
		return fmt.Errorf("the tally of network %s: %w", network, err)
	}
	return nil
}

func onPage(path string, write bool, fn func(*page)) error {
	flags, protection := unix.O_RDONLY, unix.PROT_READ
	if write {
		flags, protection = unix.O_RDWR|unix.O_CREAT, unix.PROT_READ|unix.PROT_WRITE
	}
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if err := prepare(fd, write); err != nil {
		if write && !errors.Is(err, errForeign) {
			os.Remove(path) // an empty one, most likely: there is no room for it
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	raw, err := unix.Mmap(fd, 0, pageSize, protection, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	defer func() { _ = unix.Munmap(raw) }() // of a page that was mapped just now
	p := (*page)(unsafe.Pointer(&raw[0]))
	return guarded(func() error {
		if write && p.magic == 0 { // made just now; others may be doing the same
			atomic.CompareAndSwapUint64(&p.magic, 0, magic)
		}
		if atomic.LoadUint64(&p.magic) != magic {
			return errForeign
		}
		fn(p)
		return nil
	})
}

// prepare sees to it that the file has its size. Its space is allocated: where a
// disk is full, writing to a page without space would kill the process (SIGBUS).
func prepare(fd int, write bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at it: %w", err)
	}
	regular := st.Mode&unix.S_IFMT == unix.S_IFREG
	switch {
	case regular && st.Size == pageSize:
		return nil
	case !regular || st.Size != 0 || !write:
		return errForeign
	}
	for {
		err := unix.Fallocate(fd, 0, 0, pageSize)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("allocate it: %w", err)
		}
		return nil
	}
}

// guarded turns the fault of a file that somebody truncates meanwhile into an error.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("use it: %v", cause)
		}
	}()
	return fn()
}
