// Command image writes a container image as a docker-archive, from files and
// programs of this machine: the cluster of the tests has no registry to pull
// from. It knows archives and shared libraries, not what the images are for.
//
//	image -o OUT.tar [-busybox] [-file DST=SRC]… [-program DST[=SRC]]… [-libraries DIR]…
//	      [-link NAME=TARGET]… [-entrypoint PATH] [-cmd ARG]… REFERENCE…
package main

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// options is the command line: what goes into the image and how it is started.
type options struct {
	out, entrypoint                          string
	busybox                                  bool
	files, programs, libraries, links, words list
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	var o options
	flag.StringVar(&o.out, "o", "", "the archive to write")
	flag.BoolVar(&o.busybox, "busybox", false, "add /bin/busybox and a link for each of its applets")
	flag.Var(&o.files, "file", "DST=SRC: add an executable file as it is")
	flag.Var(&o.programs, "program", "DST[=SRC]: add a program with its shared libraries")
	flag.Var(&o.libraries, "libraries", "DIR: add the libraries of a folder, and what they need, at their own paths")
	flag.Var(&o.links, "link", "NAME=TARGET: add a symbolic link")
	flag.StringVar(&o.entrypoint, "entrypoint", "", "what the image runs")
	flag.Var(&o.words, "cmd", "an argument of the entrypoint, unless a container has its own")
	flag.Parse()
	if err := run(o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run fills the layer in the order of the options: of two entries of one name the
// first is kept, so a program takes the place of busybox's applet.
func run(o options, references []string) error {
	if o.out == "" || len(references) == 0 {
		return fmt.Errorf("-o or the image's reference is missing")
	}
	l := newLayer()
	for _, step := range []func() error{
		func() error { return l.machine() },
		func() error { return each(o.files, l.file) },
		func() error { return each(o.programs, l.program) },
		func() error { return each(o.libraries, func(dir, _ string) error { return l.folder(dir) }) },
		func() error { return each(o.links, l.link) },
		func() error { return l.applets(o.busybox) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	content, err := l.finish()
	if err != nil {
		return err
	}
	return write(o, references, content)
}

// each calls add with both halves of every "DST=SRC"; without a "=" SRC is /DST.
func each(pairs []string, add func(dst, src string) error) error {
	for _, pair := range pairs {
		dst, src, found := strings.Cut(pair, "=")
		if !found {
			src = "/" + strings.TrimPrefix(dst, "/")
		}
		if err := add(dst, src); err != nil {
			return err
		}
	}
	return nil
}

// write wraps the layer in what makes it an image. Nothing in it depends on the
// time, so the same files give the same image.
func write(o options, references []string, content []byte) error {
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			"Entrypoint": []string{o.entrypoint},
			"Cmd":        o.words,
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(content)}},
	})
	if err != nil {
		return fmt.Errorf("encoding the configuration of %s: %w", references[0], err)
	}
	name := strings.TrimPrefix(digest(config), "sha256:") + ".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": name, "RepoTags": references, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return fmt.Errorf("encoding the manifest of %s: %w", references[0], err)
	}
	archive := newLayer()
	for _, part := range []struct {
		name    string
		content []byte
	}{{"layer.tar", content}, {name, config}, {"manifest.json", manifest}} {
		if err := archive.add(part.name, 0o644, part.content); err != nil {
			return err
		}
	}
	content, err = archive.finish()
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.out, content, 0o644); err != nil {
		return fmt.Errorf("writing the image %s: %w", references[0], err)
	}
	return nil
}

// digest is the content's name in an image's documents.
func digest(content []byte) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(content))
}
