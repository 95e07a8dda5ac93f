package ipam

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/netip"
	"time"

	"github.com/vnet-cni/vnet-cni/pkg/jsonwrite"
)

// The records of a store, all in one bucket so that neighbouring ones share
// pages: the header, an address record for each leased or queued address, a
// lease for each key, and an end mark. Each value ends with a checksum of key
// and value, so that noise is told from a record.
var (
	bucketName = []byte("vnet")
	headerKey  = []byte{0x00}
	endKey     = []byte{0xff}
)

const (
	v4Key    = '4' // and four octets
	v6Key    = '6' // and sixteen
	leaseKey = 'l' // and the owner

	sumSize = 4 // of the checksum behind every value
)

// owner is a hash of a lease's key: container ids have 64 characters, and the
// shorter a key, the fewer pages lead to it.
type owner [16]byte

func ownerOf(k Key) (o owner) {
	sum := fnv.New128a()
	sum.Write([]byte(k.ContainerID))
	sum.Write([]byte{0})
	sum.Write([]byte(k.IfName))
	sum.Sum(o[:0])
	return o
}

func (o owner) key() []byte { return append([]byte{leaseKey}, o[:]...) }

func addrKey(a netip.Addr) []byte {
	if a.Is4() {
		return append([]byte{v4Key}, a.AsSlice()...)
	}
	return append([]byte{v6Key}, a.AsSlice()...)
}

// header is the state of the network as a whole.
type header struct {
	Boot  string       `json:"boot"`
	Pools []*poolState `json:"pools,omitempty"` // their subnets do not overlap
}

// poolState says where a pool's next address comes from.
type poolState struct {
	Subnet   netip.Prefix  `json:"subnet"`
	Spans    []Range       `json:"spans"`    // the layout that At and Next belong to
	At       int           `json:"at"`       // the span that the frontier is in
	Next     netip.Addr    `json:"next"`     // the frontier; the zero Addr: the start of the span
	Head     netip.Addr    `json:"head"`     // the address released first
	Tail     netip.Addr    `json:"tail"`     // the address released last
	Queued   int           `json:"queued"`   // how many addresses lead from Head to Tail
	Forgot   bool          `json:"forgot"`   // a released address was forgotten: start over when exhausted
	Cooldown time.Duration `json:"cooldown"` // of the last request
}

// leaseRecord is a lease in the file, as encodeLease writes it.
type leaseRecord struct {
	ContainerID string          `json:"containerID"`
	IfName      string          `json:"ifName"`
	Addresses   []netip.Prefix  `json:"addresses"`
	Since       time.Time       `json:"since"`
	Attachment  json.RawMessage `json:"attachment,omitempty"`
}

// What an address record says.
const (
	addrFree   = 0 // there is none
	addrLeased = 'L'
	addrQueued = 'Q'
)

// addrRecord is a leased address, or one in its pool's queue of released ones.
// In the file the two are of equal length: releasing a lease needs no space.
type addrRecord struct {
	kind       byte
	owner      owner         // if leased
	released   time.Duration // if queued: by the boot clock
	prev, next netip.Addr    // if queued: its neighbours; the zero Addr at the ends
}

func (r addrRecord) encode(a netip.Addr) []byte {
	width := a.BitLen() / 8
	raw := make([]byte, 9+2*width)
	raw[0] = r.kind
	if r.kind == addrLeased {
		copy(raw[1:], r.owner[:])
		return raw
	}
	binary.BigEndian.PutUint64(raw[1:], uint64(r.released))
	copy(raw[9:], r.prev.AsSlice())
	copy(raw[9+width:], r.next.AsSlice())
	return raw
}

func decodeAddr(a netip.Addr, raw []byte) (r addrRecord, err error) {
	width := a.BitLen() / 8
	if len(raw) != 9+2*width || raw[0] != addrLeased && raw[0] != addrQueued {
		return r, damaged("the record of address %v is not one", a)
	}
	r.kind = raw[0]
	if r.kind == addrLeased {
		copy(r.owner[:], raw[1:])
		return r, nil
	}
	r.released = time.Duration(binary.BigEndian.Uint64(raw[1:]))
	r.prev, r.next = optionalAddr(raw[9:9+width]), optionalAddr(raw[9+width:])
	return r, nil
}

// optionalAddr reads an address whose zeros stand for none: the unspecified
// address is never leased.
func optionalAddr(raw []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(raw)
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// addrOfKey returns the address of an address record's key.
func addrOfKey(key []byte) (netip.Addr, bool) {
	if key[0] != v4Key && key[0] != v6Key {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(key[1:])
}

func encodeLease(l Lease) ([]byte, error) {
	if len(l.Attachment) > 0 && !json.Valid(l.Attachment) {
		return nil, fmt.Errorf("encoding the lease: its attachment is not JSON: %q", l.Attachment)
	}
	addresses := make([]string, len(l.Addresses))
	for i, a := range l.Addresses {
		addresses[i] = a.String()
	}
	var o jsonwrite.Object
	o.String("containerID", l.ContainerID)
	o.String("ifName", l.IfName)
	o.Strings("addresses", addresses)
	o.String("since", l.Since.Format(time.RFC3339Nano))
	o.Raw("attachment", l.Attachment)
	return o.JSON(), nil
}

func decodeLease(raw []byte) (Lease, error) {
	var r leaseRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return Lease{}, damaged("a lease cannot be decoded: %v", err)
	}
	return Lease{Key{r.ContainerID, r.IfName}, r.Addresses, r.Since, r.Attachment}, nil
}

// seal appends the checksum to a value.
func seal(key, value []byte) []byte {
	record := make([]byte, 0, len(key)+len(value)+sumSize)
	record = append(append(record, key...), value...)
	return binary.LittleEndian.AppendUint32(record, checksum(record))[len(key):]
}

// sealed reports whether a record, a key and a value, ends with its checksum.
func sealed(record []byte, keySize int) bool {
	end := len(record) - sumSize
	return end >= keySize && checksum(record[:end]) == binary.LittleEndian.Uint32(record[end:])
}

// checksum tells noise from a record. Each step is a bijection of the state,
// so any change of a single word is noticed but for the final fold. CRC-32
// would take five times as long for such short records, or prepare tables at
// every start of a process.
func checksum(b []byte) uint32 {
	const odd = 0x9E3779B97F4A7C15
	sum := uint64(len(b)+1) * odd
	for ; len(b) >= 8; b = b[8:] {
		sum = (sum ^ binary.LittleEndian.Uint64(b)) * odd
		sum ^= sum >> 29
	}
	for _, octet := range b {
		sum = (sum ^ uint64(octet)) * odd
		sum ^= sum >> 29
	}
	return uint32(sum ^ sum>>32)
}
