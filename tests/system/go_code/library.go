// A library in Go, with a C function that it calls by cgo.
package main

// long go_code_add(long a, long b);
// static long add(long a, long b) { return go_code_add(a, b); }
import "C"

import "runtime"

// Adds up 1 to n, each step in C.
//
//export GoSum
func GoSum(n C.long) C.long {
	var sum C.long
	for i := C.long(1); i <= n; i++ {
		sum = C.add(sum, i)
	}
	return sum
}

//go:noinline
func deep(n int) int {
	if n == 0 {
		runtime.GC() // looks through all stacks
		return 0
	}
	return 1 + deep(n-1)
}

// Grows its stack, which is copied elsewhere meanwhile.
//
//export GoDeep
func GoDeep(n C.long) C.long {
	answer := make(chan int)
	go func() { answer <- deep(int(n)) }()
	return C.long(<-answer)
}

func main() {}
