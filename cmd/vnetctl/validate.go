package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/review"
)

func (a *app) validateCommand() *cobra.Command {
	var s source
	c := &cobra.Command{
		Use:   "validate PATH...",
		Short: "Tell everything that is wrong with security group documents",
		Long: "Read files and folders of Azure's documents and tell everything that is wrong with the network\n" +
			"security groups in them, with Azure's error codes; and, as warnings, what Azure does not tell: rules\n" +
			"that never decide, or without which nothing would change, and ports that are open to the Internet.\n" +
			"The exit status is 1 if there are errors; warnings alone do not count.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, paths []string) error {
			s.routeTableSet = c.Flags().Changed(flagRouteTable)
			if err := errors.Join(s.templates.check(), s.checkSpace()); err != nil {
				return err
			}
			s.documents = paths
			return a.validate(&s)
		},
	}
	s.templates.register(c)
	s.registerVirtualNetwork(c, completeOf(0, tableNames))
	return c
}

// validation is what was looked at and what is wrong with it.
type validation struct {
	groups, rules, errors, warnings int
	findings                        []nsg.Finding
}

func (a *app) validate(s *source) error {
	v, err := validationOf(s, s.read())
	if err != nil {
		return err
	}
	if err := a.printValidation(v); err != nil {
		return err
	}
	if v.errors > 0 {
		return errReported
	}
	return nil
}

// validationOf counts what there is to say about documents.
func validationOf(s *source, d *arm.Documents) (*validation, error) {
	v := &validation{groups: len(d.Groups), findings: append([]nsg.Finding{}, policy.Findings(d)...)}
	worth, err := reviewOf(s, d)
	if err != nil {
		return nil, err
	}
	v.findings = append(v.findings, worth...)
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
	return v, nil
}

// reviewOf is what is worth a warning about those groups that are valid.
func reviewOf(s *source, d *arm.Documents) ([]nsg.Finding, error) {
	var findings []nsg.Finding
	for _, definition := range d.Groups {
		g, _ := nsg.New(definition)
		if g == nil {
			continue
		}
		around := policy.Around(d, &definition)
		c, err := s.meaning(policy.Subnets(around, &definition))
		if err != nil {
			return nil, err
		}
		// Subnets with different tables are worth a word where a question needs one.
		if _, _, err := c.Routes(around); err != nil && s.routeTableSet {
			return nil, fmt.Errorf("--%s: %w", flagRouteTable, err)
		}
		m := review.Meaning{Tags: c.Tags(around), Homeless: len(c.Space(around)) == 0 || c.Several(around) != nil}
		findings = append(findings, policy.Titled(d, &definition, review.Findings(g, m))...)
	}
	return findings, nil
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

// titleCell is what a group is called: ids begin alike, and are never cut.
func titleCell(title string) string {
	if strings.HasPrefix(title, "/") {
		return cell(title, 0)
	}
	return cell(title, maxNameCell)
}

func findingRows(findings []nsg.Finding) [][]string {
	rows := [][]string{{"SEVERITY", "CODE", "FILE", "NSG", "RULE", "PROPERTY", "VALUE", "MESSAGE"}}
	for _, f := range findings {
		rows = append(rows, []string{string(f.Severity), f.Code, cell(f.File, 0), orDash(titleCell(f.NSG)),
			orDash(cell(f.Rule, maxNameCell)), orDash(f.Property), orDash(cell(f.Value, maxValueCell)), cell(f.Message, 0)})
	}
	return rows
}
