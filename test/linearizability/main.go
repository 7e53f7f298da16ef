// Checks histories of a stock for linearizability, with porcupine. It reads calls from standard input, one JSON object
// a line, and prints one JSON object with a verdict for each SKU. The argument `gates` says that units which come back
// wait for processes that may say sold out by themselves.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

type verdict struct {
	// Result: 'Ok', 'Illegal', or 'Unknown' when time ran out.
	Result     string `json:"result"`
	Operations int    `json:"operations"`
	// Longest: how many operations can be put in order; Stuck: the first that cannot follow them.
	Longest int    `json:"longest"`
	Stuck   []call `json:"stuck,omitempty"`
}

const patience = 20 * time.Second

func check(calls []*call, gates bool) verdict {
	history, orders := operations(calls, gates)
	result, info := porcupine.CheckOperationsVerbose(model(orders, gates), history, patience)
	found := verdict{Result: string(result), Operations: len(history)}
	var best []porcupine.Operation
	for _, linearized := range info.PartialLinearizationsOperations()[0] {
		if len(linearized) > len(best) {
			best = linearized
		}
	}
	found.Longest = len(best)
	if result == porcupine.Ok {
		return found
	}
	isIn := map[interface{}]bool{}
	for _, operation := range best {
		isIn[operation.Input] = true
	}
	sort.Slice(history, func(i, j int) bool { return history[i].Return < history[j].Return })
	for _, operation := range history {
		if c := operation.Input.(*call); !isIn[c] && len(found.Stuck) < 3 {
			found.Stuck = append(found.Stuck, *c)
		}
	}
	return found
}

func main() {
	gates := len(os.Args) > 1 && os.Args[1] == "gates"
	bySku := map[string][]*call{}
	for input := json.NewDecoder(os.Stdin); ; {
		c := &call{}
		if err := input.Decode(c); err == io.EOF {
			break
		} else if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		bySku[c.Sku] = append(bySku[c.Sku], c)
	}
	verdicts := map[string]verdict{}
	for sku, calls := range bySku {
		verdicts[sku] = check(calls, gates)
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
