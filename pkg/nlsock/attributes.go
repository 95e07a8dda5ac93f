package nlsock

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// Attributes walks the attributes in b, flags removed from their types (struct
// nlattr of linux/netlink.h), and ends where they stop making sense.
// (nl.ParseRouteAttr panics there.)
func Attributes(b []byte) iter.Seq2[int, []byte] {
	const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	return func(yield func(int, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.SizeofNlAttr || length > len(b) {
				return
			}
			typ := int(binary.NativeEndian.Uint16(b[2:]) &^ flags)
			if !yield(typ, b[unix.SizeofNlAttr:length]) {
				return
			}
			b = b[min((length+3)&^3, len(b)):] // attributes are aligned to four bytes
		}
	}
}

// Uint32 reads a number in the machine's byte order; a value that is too short is 0.
func Uint32(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}
