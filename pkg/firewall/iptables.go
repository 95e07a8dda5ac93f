package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	goiptables "github.com/coreos/go-iptables/iptables"
)

// Backends as iptables --version names them.
const (
	backendNFT    = "nf_tables"
	backendLegacy = "legacy"
)

const (
	backendFile = "iptables" // in the state directory: the backend of the node's rules

	execTimeout = 30 * time.Second

	// exitLocked is iptables' status (RESOURCE_PROBLEM, xtables.h) after it
	// waited in vain for its lock.
	exitLocked = 4

	lockWait = 10 // seconds for /run/xtables.lock, which all namespaces share
)

// iptables runs the commands of one family and one backend.
type iptables struct {
	family         family
	backend        string
	command        string               // path of iptables or ip6tables
	tables         *goiptables.IPTables // the same, once it was needed
	restoreCommand string               // path of iptables-restore or ip6tables-restore
	saveCommand    string               // and of iptables-save or ip6tables-save
}

// findBackend finds the programs for the families: those of the recorded
// backend, else of the backend of the first iptables on PATH. The latter is
// given back as unrecorded.
func findBackend(stateDir string, families []family) (programs []*iptables, unrecorded string, err error) {
	name, recorded, err := Backend(stateDir)
	if err != nil {
		return nil, "", err
	}
	if !recorded {
		unrecorded = name
	}
	for _, f := range families {
		p, err := findIptables(f, name)
		if err != nil && unrecorded == "" {
			err = fmt.Errorf("%w (%s records the backend of this node's rules)", err, filepath.Join(stateDir, backendFile))
		}
		if err != nil {
			return nil, "", err
		}
		programs = append(programs, p)
	}
	return programs, unrecorded, nil
}

// recordedBackend reads the record; "" when there is none or it is unreadable noise.
func recordedBackend(stateDir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(stateDir, backendFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the recorded iptables backend: %w", err)
	}
	switch word := strings.TrimSpace(string(data)); word {
	case backendNFT, backendLegacy:
		return word, nil
	}
	return "", nil
}

// Backend gives the iptables backend of this node's rules, "nf_tables" or
// "legacy": the recorded one, else that of the first iptables on PATH, which the
// next installation would record.
func Backend(stateDir string) (name string, recorded bool, err error) {
	name, err = recordedBackend(stateDir)
	if err != nil || name != "" {
		return name, name != "", err
	}
	name, err = firstBackend()
	return name, false, err
}

func firstBackend() (string, error) {
	command, err := exec.LookPath("iptables")
	if err != nil {
		return "", fmt.Errorf("find iptables: %w", err)
	}
	return backendOf(command)
}

// recordBackend writes the record by renaming, so that no reader finds half a word.
func recordBackend(stateDir, name string) error {
	path := filepath.Join(stateDir, backendFile)
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(name+"\n"), 0o600); err != nil {
		return fmt.Errorf("record the iptables backend: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("record the iptables backend: %w", err)
	}
	return nil
}

// findIptables finds the family's programs of the backend.
func findIptables(f family, backend string) (*iptables, error) {
	command, err := findProgram(f.program(), "", backend)
	if err != nil {
		return nil, err
	}
	restore, err := findProgram(f.program(), "-restore", backend)
	if err != nil {
		return nil, err
	}
	save, err := findProgram(f.program(), "-save", backend)
	if err != nil {
		return nil, err
	}
	return &iptables{family: f, backend: backend, command: command, restoreCommand: restore, saveCommand: save}, nil
}

// list returns the handle to list chains with. Making one starts the program.
func (t *iptables) list() (*goiptables.IPTables, error) {
	if t.tables != nil {
		return t.tables, nil
	}
	tables, err := goiptables.New(goiptables.Path(t.command), goiptables.IPFamily(t.family.iptables()), goiptables.Timeout(lockWait))
	if err != nil {
		return nil, fmt.Errorf("ask %s what it can do: %w", t.command, err)
	}
	t.tables = tables
	return tables, nil
}

// findProgram finds name+end on PATH if it is of the backend, else the
// program that has the backend in its name, as in iptables-nft-restore.
func findProgram(name, end, backend string) (string, error) {
	plain, err := exec.LookPath(name + end)
	if err == nil {
		if is, err := backendOf(plain); err == nil && is == backend {
			return plain, nil
		}
	}
	explicit := name + "-legacy" + end
	if backend == backendNFT {
		explicit = name + "-nft" + end
	}
	path, err := exec.LookPath(explicit)
	if err != nil {
		return "", fmt.Errorf("neither %s%s nor %s on PATH is of the iptables backend %s: %w", name, end, explicit, backend, err)
	}
	return path, nil
}

// backendOf tells a program's backend: by the file that it really is, as iptables
// installs it for both, else by asking it. Versions before 1.8 know legacy only
// and do not say so.
func backendOf(command string) (string, error) {
	if file, err := filepath.EvalSymlinks(command); err == nil {
		switch filepath.Base(file) {
		case "xtables-nft-multi":
			return backendNFT, nil
		case "xtables-legacy-multi":
			return backendLegacy, nil
		}
	}
	out, err := run(command, "", "--version")
	if err != nil {
		return "", err
	}
	if strings.Contains(out, backendNFT) {
		return backendNFT, nil
	}
	return backendLegacy, nil
}

// chainRules lists the rules of a chain as iptables -S writes them, without "-A CHAIN ".
func (t *iptables) chainRules(table, chain string) ([]string, error) {
	tables, err := t.list()
	if err != nil {
		return nil, err
	}
	lines, err := tables.List(table, chain)
	if err != nil {
		return nil, fmt.Errorf("list chain %s of table %s: %w", chain, table, locked(err))
	}
	var rules []string
	for _, line := range lines {
		if r, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "+chain+" "); ok {
			rules = append(rules, r)
		}
	}
	return rules, nil
}

// hasChain tells whether the table has the chain.
func (t *iptables) hasChain(table, chain string) (bool, error) {
	tables, err := t.list()
	if err != nil {
		return false, err
	}
	chains, err := tables.ListChains(table)
	if err != nil {
		return false, fmt.Errorf("list the chains of table %s: %w", table, locked(err))
	}
	return slices.Contains(chains, chain), nil
}

// locked adds ErrLocked to the failure of a program that says so.
func locked(err error) error {
	var exit *exec.ExitError
	var listing *goiptables.Error
	if errors.As(err, &exit) && exit.ExitCode() == exitLocked ||
		errors.As(err, &listing) && listing.ExitStatus() == exitLocked {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return err
}

// restore applies input; each of its tables changes as a whole or not at all.
func (t *iptables) restore(input string) error {
	_, err := run(t.restoreCommand, input, "--noflush", "-w", strconv.Itoa(lockWait))
	return locked(err)
}

// run starts a program and gives what it prints. Its error has what the
// program complained about.
func run(command, input string, args ...string) (string, error) {
	p, err := start(command, input, args...)
	if err != nil {
		return "", err
	}
	return p.wait()
}

// running is a program that was started.
type running struct {
	cmd            *exec.Cmd
	cancel         context.CancelFunc
	stdout, stderr bytes.Buffer
}

// start starts a program, in the namespace of the calling thread.
func start(command, input string, args ...string) (*running, error) {
	ctx, cancel := context.WithTimeout(context.Background(), execTimeout)
	p := &running{cmd: exec.CommandContext(ctx, command, args...), cancel: cancel}
	p.cmd.Env = append(os.Environ(), "LC_ALL=C")
	p.cmd.Stdin = strings.NewReader(input)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", command, err)
	}
	return p, nil
}

// wait gives what the program prints.
func (p *running) wait() (string, error) {
	defer p.cancel()
	if err := p.cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(p.cmd.Args, " "), err, strings.TrimSpace(p.stderr.String()))
	}
	return p.stdout.String(), nil
}
