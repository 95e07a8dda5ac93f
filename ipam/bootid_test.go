package ipam

import (
	"os"
	"path/filepath"
	"testing"
)

// A node that is a container has a boot id of its own; what runs in a container on it
// is told where.
func TestBootIDFromEnvironment(t *testing.T) {
	kernels, err := readBootID()
	if err != nil || kernels == "" {
		t.Fatalf("the kernel's: %q, %v", kernels, err)
	}
	file := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(file, []byte("11111111-2222\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(BootIDVariable, file)
	if id, err := readBootID(); err != nil || id != "11111111-2222" {
		t.Errorf("the node's: %q, %v", id, err)
	}
	t.Setenv(BootIDVariable, file+"-missing")
	if id, err := readBootID(); err == nil {
		t.Errorf("from a file that is not there: %q", id)
	}
	t.Log("3 boot ids")
}
