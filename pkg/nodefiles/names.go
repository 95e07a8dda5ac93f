package nodefiles

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
)

// maxName is the length of the longest name of a file, in bytes: NAME_MAX of
// linux/limits.h.
const maxName = 255

// DocumentName is what the document under a key of a ConfigMap is called in a
// generation. The names of ConfigMaps have no underscore (they are subdomains of
// the DNS), so that no two documents get the same name; with a dot they could.
func DocumentName(configMap, key string) string { return FileName(configMap + "_" + key) }

// FileName makes of any text the name of a file that readers of documents look
// at: letters, digits, dots, dashes and underscores, not hidden, not too long. Such
// a name stays as it is; any other gets a hash, so that different ones stay
// different, and keeps its ending.
func FileName(text string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, text)
	if strings.HasPrefix(name, ".") || name == "" {
		name = "_" + name
	}
	if name == text && len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(text))
	ending := filepath.Ext(name)
	if len(ending) > len(".jsonc") {
		ending = ""
	}
	ending = "-" + hex.EncodeToString(sum[:8]) + ending
	stem := strings.TrimSuffix(name, filepath.Ext(ending))
	return stem[:min(len(stem), maxName-len(ending))] + ending
}
