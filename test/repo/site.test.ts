import { describe, expect, it } from 'vitest'
import { modules, shelve } from '../../docs/site/contents.js'
import { barsOf, figuresOf } from '../../docs/site/figures.js'

const results = `# Results
## lock
| case | spillway | peer | unit | ratio | note |
|---|---:|---:|---|---:|---|
| one key | 4,471 | redlock: 8,942 | holds/s | 0.50× |  |
| one key | 3,940 | bare SET and DEL: 9,875 | holds/s | 0.40× |  |

## cache
| hit | 100 | BentoCache: 50 | gets/s | 2.00× |  |
| hit | 100 | ioredis, one <GET>: 25 | gets/s | 4.00× |  |
`

describe('the figures of the first page', () => {
  it('stand beside every peer that was measured with them', () => {
    expect(figuresOf(results).map(({ case: name, bars }) => [name, ...bars.map(({ value }) => value)])).toEqual([
      ['one key', 4_471, 8_942],
      ['one key', 3_940, 9_875],
      ['hit', 100, 50, 25],
    ])
  })

  it('are as long as they are large', () => {
    const html = barsOf(figuresOf(results), 'lock', ['one key'])
    expect([...html.matchAll(/width:([\d.]+)%/g)].map(([, width]) => width)).toEqual(['50.0', '100.0'])
    expect(barsOf(figuresOf(results), 'cache', ['hit'])).toContain('ioredis, one &lt;GET&gt;')
  })

  it('end the build when a case was not measured', () => {
    expect(() => barsOf(figuresOf(results), 'cache', ['one key'])).toThrow(
      'bench/RESULTS.md has no case "one key" in its section cache',
    )
  })
})

it('puts the guides of the modules first, then the others in the order in which they are needed', () => {
  const names = ['coming-from-redlock', 'faq', 'lock', 'cache', 'metrics', 'another', 'testing', 'ratelimit', 'start']
  const shelves = shelve(names.map((name) => ({ name })))
  expect(shelves.map(({ title, guides }) => [title, ...guides.map(({ name }) => name)])).toEqual([
    ['Start', 'start'],
    ['Modules', 'ratelimit', 'lock', 'cache'],
    ['Guides', 'testing', 'metrics', 'faq', 'another'],
    ['Coming from', 'coming-from-redlock'],
  ])
  expect(shelve(modules)).toEqual([{ title: 'Modules', guides: [...modules] }])
})
