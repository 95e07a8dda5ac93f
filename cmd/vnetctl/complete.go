package main

import (
	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
)

// completeFrom offers names of the documents that the command line has so far.
func completeFrom(read func() *arm.Documents, names func(*arm.Documents) []string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return names(read()), cobra.ShellCompDirectiveNoFileComp
	}
}

func groupNames(d *arm.Documents) (names []string) {
	for _, g := range d.Groups {
		names = append(names, g.Name)
	}
	return names
}

func tableNames(d *arm.Documents) (names []string) {
	for _, t := range d.RouteTables {
		names = append(names, t.Name)
	}
	return names
}

// completeOf offers names of the documents that an argument stands for.
func completeOf(argument int, names func(*arm.Documents) []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if argument >= len(args) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(arm.Load(args[argument : argument+1])), cobra.ShellCompDirectiveNoFileComp
	}
}

func networkNames(d *arm.Documents) (names []string) {
	for _, v := range d.VirtualNetworks {
		names = append(names, v.Name)
	}
	return names
}

func subnetNames(d *arm.Documents) (names []string) {
	for _, v := range d.VirtualNetworks {
		for _, s := range v.Subnets {
			names = append(names, s.Name)
		}
	}
	return names
}
