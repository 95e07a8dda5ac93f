package program

import "hash/fnv"

// HashLength is the length of what Hash returns: characters of five bits each.
const HashLength = 10

// Hash shortens text to letters and digits, for names in the kernel. FNV is
// enough: the texts come from the node's configuration, its documents and what it
// allows to pods, and package crypto would cost start-up time.
func Hash(text string) string {
	h := fnv.New64a()
	h.Write([]byte(text))
	sum := h.Sum64()
	sum ^= sum >> (5 * HashLength) // fold what the letters below leave out
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	var out [HashLength]byte
	for i := range out {
		out[i] = letters[sum>>(5*i)&31]
	}
	return string(out[:])
}
