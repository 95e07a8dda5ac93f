package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// assertion is one entry of a file of assertions.
type assertion struct {
	line     int
	name     string
	flow     flowText
	expected expectation
}

// readAssertions reads a YAML list. Keys are strict: a misspelt one would assert
// nothing.
func readAssertions(file string) ([]assertion, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the assertions: %w", err)
	}
	list, err := yamlList(data, "flows")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var all []assertion
	for i, entry := range list {
		as, err := parseAssertion(resolved(entry))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: entry %d: %w", file, entry.Line, i+1, err)
		}
		all = append(all, as)
	}
	return all, nil
}

// yamlList returns the entries of the only document, which is a list of one at
// least.
func yamlList(data []byte, of string) ([]*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var document, more yaml.Node
	if err := d.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one document")
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.SequenceNode || len(document.Content[0].Content) == 0 {
		return nil, fmt.Errorf("it must be a list of %s, with one at least", of)
	}
	return document.Content[0].Content, nil
}

// resolved follows an alias.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func parseAssertion(entry *yaml.Node) (assertion, error) {
	as := assertion{line: entry.Line}
	seen, err := eachField(entry, flowKeys+", access, rule and name", as.set)
	if err != nil {
		return as, err
	}
	if !seen["access"] {
		return as, &fieldError{"access", "", "it must be Allow or Deny"}
	}
	return as, nil
}

// eachField hands the fields of a map over, and returns which keys there were.
func eachField(entry *yaml.Node, keys string, set func(key string, value *yaml.Node) error) (map[string]bool, error) {
	if entry.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: it must be a map of %s", quoted(entry.Value), keys)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(entry.Content); i += 2 {
		key, value := entry.Content[i].Value, resolved(entry.Content[i+1])
		if seen[key] {
			return nil, &fieldError{key, value.Value, "the key is there twice"}
		}
		seen[key] = true
		if err := set(key, value); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

func (as *assertion) set(key string, value *yaml.Node) (err error) {
	if list := as.flow.list(key); list != nil {
		*list, err = texts(key, value)
		return err
	}
	var access string
	into := as.flow.text(key)
	switch {
	case key == "access":
		into = &access
	case key == "rule":
		into = &as.expected.Rule
	case key == "name":
		into = &as.name
	case into == nil:
		return &fieldError{key, value.Value, "the key is unknown; there are " + flowKeys + ", access, rule and name"}
	}
	if *into, err = text(key, value); err != nil || key != "access" {
		return err
	}
	if as.expected.Access, err = nsg.ParseAccess(access); err != nil {
		return &fieldError{key, access, "it must be Allow or Deny"}
	}
	return nil
}

// text takes a value as it is written: a port alone is a number to YAML.
func text(key string, value *yaml.Node) (string, error) {
	if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
		return "", &fieldError{key, value.Value, "it must be a string"}
	}
	return value.Value, nil
}

func texts(key string, value *yaml.Node) ([]string, error) {
	if value.Kind != yaml.SequenceNode {
		return nil, &fieldError{key, value.Value, "it must be a list of strings"}
	}
	list := []string{}
	for _, item := range value.Content {
		s, err := text(key, resolved(item))
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}
