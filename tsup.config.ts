import { defineConfig, type Options } from 'tsup'

const shared = {
  format: 'esm',
  target: 'node20',
  platform: 'node',
  loader: { '.lua': 'text' },
  splitting: true,
} satisfies Options

/** Programs use the library by its published names, not by the paths to its source, and find every package at run time. */
const program = {
  ...shared,
  tsconfig: 'tsconfig.build.json',
  external: [/^spillway/],
  skipNodeModulesBundle: true,
  dts: false,
  clean: true,
} satisfies Options

export default defineConfig((options) => [
  {
    ...shared,
    name: 'library',
    entry: [
      'src/index.ts',
      'src/{ratelimit,lock,cache,stock,queue}/index.ts',
      'src/{ratelimit,lock,cache,stock,queue}/contract.ts',
      'src/{ratelimit,lock,cache,stock}/redis/index.ts',
      'src/lock/redlock/index.ts',
      'src/lock/zookeeper/index.ts',
      'src/queue/{kafka,sql}/index.ts',
    ],
    outDir: 'dist',
    clean: true,
    // What is shipped is not minified: a stack trace names readable lines without a map.
    sourcemap: false,
    // The declarations need names that a project may not have asked for: AsyncDisposable in an older target, AbortSignal and
    // Buffer where `types` is empty (TypeScript 7's default).
    dts: options.dts !== false && {
      banner: '/// <reference lib="esnext.disposable" />\n/// <reference types="node" />',
    },
  },
  {
    ...program,
    name: 'examples',
    entry: {
      'examples/seckill/main': 'examples/seckill/main.ts',
      'examples/seckill/rush': 'examples/seckill/rush/main.ts',
      'examples/seckill/compare': 'examples/seckill/compare/main.ts',
      'examples/ticket/main': 'examples/ticket/main.ts',
      'examples/ticket/client': 'examples/ticket/client/main.ts',
      'examples/pos/main': 'examples/pos/main.ts',
      'examples/pos/upstream': 'examples/pos/upstream/main.ts',
      'examples/pos/scale': 'examples/pos/scale/main.ts',
      'examples/ticket/rows': 'examples/ticket/rows/main.ts',
      'examples/ticket/compare': 'examples/ticket/compare/main.ts',
      'examples/ticket/compare-server': 'examples/ticket/compare/server.ts',
      stack: 'test/services/cli.ts',
      'consumers/main': 'test/consumers/main.ts',
      'soak/main': 'test/soak/main.ts',
      'soak/worker': 'test/soak/worker.ts',
      'keep-runtime': 'examples/image/keep-runtime.ts',
    },
    outDir: 'build',
  },
  {
    ...program,
    name: 'bench',
    entry: ['bench/run.ts', 'bench/lock-worker.ts', 'bench/stock-growth.ts'],
    outDir: 'bench/build',
  },
])
