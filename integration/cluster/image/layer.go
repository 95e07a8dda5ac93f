package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// layer is a tar archive that grows in memory.
type layer struct {
	content bytes.Buffer
	archive *tar.Writer
	have    map[string]bool
}

func newLayer() *layer {
	l := &layer{have: map[string]bool{}}
	l.archive = tar.NewWriter(&l.content)
	return l
}

// machine adds what programs expect of any machine: users, and folders to write to.
func (l *layer) machine() error {
	for _, name := range []string{"dev", "etc", "home", "proc", "root", "run", "sys", "var"} {
		if err := l.header(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := l.header(tar.Header{Typeflag: tar.TypeDir, Name: "tmp", Mode: 0o1777}); err != nil {
		return err
	}
	if err := l.link("var/run", "/run"); err != nil {
		return err
	}
	if err := l.add("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")); err != nil {
		return err
	}
	return l.add("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
}

// applets adds busybox, static or not, and its applets.
func (l *layer) applets(wanted bool) error {
	if !wanted {
		return nil
	}
	const busybox = "/usr/bin/busybox"
	if err := l.program("bin/busybox", busybox); err != nil {
		return err
	}
	names, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("asking %s for its applets: %w", busybox, err)
	}
	for _, name := range strings.Fields(string(names)) {
		if err := l.link("bin/"+name, "busybox"); err != nil {
			return err
		}
	}
	return nil
}

// program adds a program of this machine with the libraries that it is linked
// with, the loader among them, each at its own path.
func (l *layer) program(dst, src string) error {
	if err := l.file(dst, src); err != nil {
		return err
	}
	// A static program has none, and ldd says so by failing.
	words, _ := exec.Command("ldd", src).Output()
	for _, word := range strings.Fields(string(words)) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		if err := l.file(word, word); err != nil {
			return err
		}
	}
	return nil
}

// folder adds the libraries of a folder, which a program opens at run time.
func (l *layer) folder(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.so"))
	if err != nil {
		return fmt.Errorf("looking for libraries in %q: %w", dir, err)
	}
	if len(names) == 0 {
		return fmt.Errorf("looking for libraries in %q: there are none", dir)
	}
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil {
			if err := l.link(name, target); err != nil {
				return err
			}
			continue
		}
		if err := l.program(name, name); err != nil {
			return err
		}
	}
	return nil
}

// file adds a file of this machine as an executable.
func (l *layer) file(dst, src string) error {
	content, err := os.ReadFile(src)
	if err != nil {
		return fmt.Errorf("reading %q for the image: %w", src, err)
	}
	return l.add(dst, 0o755, content)
}

func (l *layer) link(name, target string) error {
	return l.header(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

func (l *layer) add(name string, mode int64, content []byte) error {
	name = strings.TrimPrefix(name, "/")
	if l.have[name] {
		return nil
	}
	if err := l.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	if _, err := l.archive.Write(content); err != nil {
		return fmt.Errorf("adding %q to the image: %w", name, err)
	}
	return nil
}

// header adds one entry after the folders that it is in, unless its name is taken.
func (l *layer) header(h tar.Header) error {
	h.Name = strings.TrimPrefix(h.Name, "/")
	if l.have[h.Name] {
		return nil
	}
	l.have[h.Name] = true
	if parent := path.Dir(h.Name); parent != "." {
		if err := l.header(tar.Header{Typeflag: tar.TypeDir, Name: parent, Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := l.archive.WriteHeader(&h); err != nil {
		return fmt.Errorf("adding %q to the image: %w", h.Name, err)
	}
	return nil
}

// finish ends the archive and returns it.
func (l *layer) finish() ([]byte, error) {
	if err := l.archive.Close(); err != nil {
		return nil, fmt.Errorf("finishing an archive: %w", err)
	}
	return l.content.Bytes(), nil
}
