package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// json reports whether the output is for programs.
func (a *app) json() bool { return a.output == "json" }

// printJSON writes a value as programs read it.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// printTable writes rows in columns; the first row is the heading.
func (a *app) printTable(rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, cells := range rows {
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func (a *app) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.out, format, args...); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// printNothing says that there is none of what was asked for, and why if the
// state directory does not even exist.
func (a *app) printNothing(what string) error {
	missing, err := a.stateDirMissing()
	if err != nil {
		return err
	}
	if missing {
		return a.printf("no %s: %s does not exist\n", what, a.stateDir)
	}
	return a.printf("no %s\n", what)
}

func (a *app) stateDirMissing() (bool, error) {
	_, err := os.Stat(a.stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the state directory: %w", err)
	}
	return false, nil
}

// age words a duration by its two largest units: 3m12s, 2h5m, 4d1h.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// podColumn is where tables of attachments name the pod.
const podColumn = 4

// withPods drops the column of pods where no row has one: outside of Kubernetes
// nobody knows what a pod is called.
func withPods(rows [][]string) [][]string { return unlessEmpty(rows, podColumn) }

// unlessEmpty drops a column that has nothing but its heading.
func unlessEmpty(rows [][]string, column int) [][]string {
	if slices.ContainsFunc(rows[1:], func(row []string) bool { return row[column] != "" }) {
		for _, row := range rows {
			row[column] = orDash(row[column])
		}
		return rows
	}
	for i, row := range rows {
		rows[i] = slices.Delete(row, column, column+1)
	}
	return rows
}

// orDash stands for an unknown value in a table.
func orDash(value string) string {
	if value == "" {
		return "-"
	}
	return value
}

// cell is a value of somebody else's in a table: nothing in it ends the line or
// speaks to the terminal, and beyond width characters it is cut; 0 is no limit.
func cell(value string, width int) string {
	runes := []rune(strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '\uFFFD'
	}, value))
	if width > 0 && len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return string(runes)
}

// counted words a number of things.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// note tells people something that is no result and no error, once.
func (a *app) note(format string, args ...any) {
	text := cell(fmt.Sprintf(format, args...), 0)
	if slices.Contains(a.noted, text) {
		return
	}
	a.noted = append(a.noted, text)
	fmt.Fprintf(a.errs, "vnetctl: note: %s\n", text)
}
