// Package sysmon lets the Go runtime's monitor sleep when imported for its effect.
// This thread wakes every 20 µs for the first milliseconds of a process
// (runtime.sysmon), which is all the time that a verb takes, to see that no
// goroutine keeps another from running: 7 % of the CPU time of an ADD, 12 % of a
// DEL's, for nothing. Go has no switch for it. But the kernel may let a thread
// sleep longer than it asked for, by its timer slack, which a privileged process
// can set for any thread (proc(5), /proc/pid/timerslack_ns; since Linux 4.6).
// With that the monitor does all that it did, a millisecond later.
//
// Where the kernel refuses, nothing changes; should a later Go begin its threads
// in another order, some other thread's sleeps would end a millisecond late. The
// package imports little, to be initialised early.
package sysmon

import "syscall"

// slack is how late, in nanoseconds, the monitor may wake.
const slack = "1000000"

var _ = relax()

// relax sets the slack of the process's second thread: the monitor is the first
// one that the main thread starts (runtime.main).
func relax() error {
	tid, err := secondThread()
	if err != nil {
		return err
	}
	fd, err := syscall.Open("/proc/"+tid+"/timerslack_ns", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	_, err = syscall.Write(fd, []byte(slack))
	return err
}

// secondThread returns the thread id as /proc has it: the process may be in
// another PID namespace than that. The kernel lists the threads of a process in
// the order in which they began.
func secondThread() (string, error) {
	fd, err := syscall.Open("/proc/self/task", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer syscall.Close(fd)
	var entries [512]byte
	n, err := syscall.Getdents(fd, entries[:])
	if err != nil {
		return "", err
	}
	_, _, names := syscall.ParseDirent(entries[:n], 2, nil) // without . and ..
	if len(names) < 2 {
		return "", syscall.ESRCH
	}
	return names[1], nil
}
