package nodefiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree is what a folder holds, by path: "mode content" or "-> target".
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			found[name] = "-> " + target
			return err
		case info.IsDir():
			found[name] = info.Mode().String()
			return nil
		}
		content, err := os.ReadFile(path)
		found[name] = fmt.Sprintf("%v %s", info.Mode(), content)
		return err
	})
	must(t, err)
	return found
}

// write makes a file that can be told from the one that was there by its stamp: before
// Linux 6.13, two changes within one tick of the kernel's clock have the same time.
func write(t testing.TB, path, content string, mode fs.FileMode) {
	t.Helper()
	before, _ := stampOf(path)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), mode))
	for now := before; now.Changed == before.Changed; {
		var err error
		must(t, os.Chmod(path, mode))
		now, err = stampOf(path)
		must(t, err)
	}
}

// errKilled stands for the end of the process.
var errKilled = errors.New("killed")

// killedAt is a disk whose process ends before the n-th step, from 0. steps counts
// those that were asked for.
func killedAt(n int, steps *int) disk {
	return disk{before: func(string, string) error {
		if *steps++; *steps > n {
			return errKilled
		}
		return nil
	}}
}

// atEachStep runs do with a process that is killed at its first step, at its
// second, and so on until it is not killed any more. After each death look is
// called, and then do once more, with nobody killed.
func atEachStep(t *testing.T, do func(d disk) error, begin, look, end func()) (deaths int) {
	t.Helper()
	for ; ; deaths++ {
		begin()
		steps := 0
		err := do(killedAt(deaths, &steps))
		if err == nil {
			if steps != deaths {
				t.Fatalf("%d steps without a death, %d before", steps, deaths)
			}
			end()
			return deaths
		}
		if !errors.Is(err, errKilled) {
			t.Fatalf("death at step %d: %v", deaths, err)
		}
		look()
		if err := do(disk{}); err != nil {
			t.Fatalf("the call after a death at step %d: %v", deaths, err)
		}
		end()
	}
}

// large is a content that fills more than what is left of a full disk.
func large(letter string) string { return strings.Repeat(letter, 300<<10) }
