package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Documents that are replaced together, by a link to another folder, are read
// together.
func TestLoadOfOneGeneration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const files = 8
	for g := range 2 {
		folder := filepath.Join(dir, fmt.Sprint(g))
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for f := range files {
			text := fmt.Sprintf(`{"name":"nsg%d-of-%d","properties":{"securityRules":[]}}`, f, g)
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.json", f)), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	current := filepath.Join(dir, "current")
	swap := func(g int) error {
		if err := os.Symlink(fmt.Sprint(g), current+".new"); err != nil {
			return err
		}
		return os.Rename(current+".new", current)
	}
	if err := swap(0); err != nil {
		t.Fatal(err)
	}
	done, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 1; ; n++ {
			select {
			case <-done:
				stopped <- nil
				return
			default:
			}
			if err := swap(n % 2); err != nil {
				stopped <- err
				return
			}
		}
	}()
	const rounds = 300
	whole := 0
	for range rounds {
		i, c, err := load(Config{Documents: []string{current}})
		if err != nil {
			continue // changed each time that it was read: an error, not a mixture
		}
		whole++
		last := c.Groups[0].Name[len("nsg0"):]
		for _, g := range c.Groups {
			if g.Name[len("nsg0"):] != last || len(c.Groups) != files || len(i.Groups) != files {
				t.Fatalf("read together: %v", i.Groups)
			}
		}
	}
	close(done)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if whole == 0 {
		t.Fatal("nothing could be read")
	}
	t.Logf("%d readings under constant change, %d of them whole, none mixed", rounds, whole)
}
