package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate PATH...",
		Short: "Tell everything that is wrong with security group documents",
		Long: "Read files and folders of Azure's documents and tell everything that is wrong with the network\n" +
			"security groups in them, with Azure's error codes. The exit status is 1 if there are errors;\n" +
			"warnings alone do not count.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, paths []string) error { return a.validate(paths) },
	}
}

// validation is what was looked at and what is wrong with it.
type validation struct {
	groups, rules, errors, warnings int
	findings                        []nsg.Finding
}

func (a *app) validate(paths []string) error {
	v := validationOf(arm.Load(paths))
	if err := a.printValidation(v); err != nil {
		return err
	}
	if v.errors > 0 {
		return errReported
	}
	return nil
}

// validationOf counts what there is to say about documents.
func validationOf(d *arm.Documents) *validation {
	v := &validation{groups: len(d.Groups), findings: append([]nsg.Finding{}, policy.Findings(d)...)}
	for _, g := range d.Groups {
		v.rules += len(g.Rules)
	}
	for _, f := range v.findings {
		if f.Severity == nsg.Error {
			v.errors++
		} else {
			v.warnings++
		}
	}
	return v
}

// summary tells how much was looked at.
func (v *validation) summary() string {
	return fmt.Sprintf("%s, %s, %s, %s\n", counted(v.groups, "group"), counted(v.rules, "rule"),
		counted(v.errors, "error"), counted(v.warnings, "warning"))
}

func (a *app) printValidation(v *validation) error {
	if a.json() {
		return a.printJSON(v.findings)
	}
	if len(v.findings) > 0 {
		if err := a.printTable(findingRows(v.findings)); err != nil {
			return err
		}
		if err := a.printf("\n"); err != nil {
			return err
		}
	}
	return a.printf("%s", v.summary())
}

// How wide the columns of findings may become. Messages come last and whole.
const (
	maxNameCell  = 32
	maxValueCell = 40
)

func findingRows(findings []nsg.Finding) [][]string {
	rows := [][]string{{"SEVERITY", "CODE", "FILE", "NSG", "RULE", "PROPERTY", "VALUE", "MESSAGE"}}
	for _, f := range findings {
		rows = append(rows, []string{string(f.Severity), f.Code, cell(f.File, 0), orDash(cell(f.NSG, maxNameCell)),
			orDash(cell(f.Rule, maxNameCell)), orDash(f.Property), orDash(cell(f.Value, maxValueCell)), cell(f.Message, 0)})
	}
	return rows
}
