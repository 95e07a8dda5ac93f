package netconf

import "strings"

// nearest returns the known key that a misspelt one most probably means, or "".
func nearest(key string, fields []field) string {
	for _, f := range fields {
		if strings.EqualFold(f.key, key) || oneEdit(f.key, key) {
			return f.key
		}
	}
	return ""
}

// oneEdit tells whether a and b differ by one letter inserted, removed, changed
// or swapped with its neighbour.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 || len(b) < 2 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	if i == len(a) || a[i+1:] == b[i+1:] {
		return true
	}
	return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
