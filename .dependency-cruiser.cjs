const modules = '(ratelimit|lock|cache|stock|queue)'

/** The dependency rule of ARCHITECTURE.md, as a program. */
module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      comment: 'A module that is imported only when it is needed closes no circle.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['dynamic-import'] } },
    },
    { name: 'core-is-the-floor', severity: 'error', from: { path: '^src/core/' }, to: { path: '^src/(?!core/)' } },
    {
      name: 'modules-do-not-know-each-other',
      severity: 'error',
      from: { path: `^src/${modules}/` },
      to: { path: `^src/${modules}/`, pathNot: '^src/$1/' },
    },
    {
      name: 'front-does-not-know-drivers',
      comment: 'Only the public index hands out the embedded default, the memory driver.',
      severity: 'error',
      from: { path: '^src/([^/]+)/[^/]+\\.ts$', pathNot: '^src/[^/]+/index\\.ts$|^src/core/' },
      to: { path: '^src/$1/[^/]+/' },
    },
    {
      name: 'index-knows-the-memory-driver-only',
      severity: 'error',
      from: { path: `^src/${modules}/index\\.ts$` },
      to: { path: '^src/$1/[^/]+/', pathNot: '^src/$1/memory/' },
    },
    {
      name: 'drivers-do-not-know-each-other',
      severity: 'error',
      from: { path: `^src/${modules}/([^/]+)/` },
      to: { path: '^src/$1/[^/]+/', pathNot: '^src/$1/$2/' },
    },
    {
      name: 'client-libraries-stay-in-their-driver',
      comment: 'Optional peers: types anywhere below their driver, code only in the driver folder that needs them.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(queue/(kafka|sql)|lock/(redlock|zookeeper))/' },
      to: {
        path: 'node_modules/(ioredis|iovalkey|kafkajs|kysely|node-zookeeper-client|redlock)/',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'src-never-imports-tests-or-examples',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|examples|bench)/' },
    },
    {
      name: 'examples-use-the-published-names',
      severity: 'error',
      from: { path: '^(examples|bench)/' },
      to: { path: '^src/', dependencyTypesNot: ['aliased-tsconfig-paths'] },
    },
    {
      name: 'root-index-exports-core-only',
      severity: 'error',
      from: { path: '^src/index\\.ts$' },
      to: { path: '^src/(?!core/)' },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.json'] },
  },
}
