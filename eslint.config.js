import tseslint from 'typescript-eslint'

const timeGlobals = ['setTimeout', 'setInterval', 'setImmediate', 'performance'].map((name) => ({
  name,
  message: 'Time is a parameter: take a Clock (src/core/clock.ts).',
}))

export default tseslint.config(
  { ignores: ['dist/', '**/build/', 'docs/api/', '**/node_modules/', 'examples/**/public/', '**/*.cjs'] },
  {
    files: ['**/*.ts', '**/*.js'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['eslint.config.js'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/return-await': ['error', 'in-try-catch'],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // Interfaces of drivers are asynchronous; a memory driver that answers at once is still one of them.
      '@typescript-eslint/require-await': 'off',
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/core/clock.ts'],
    rules: {
      'no-restricted-globals': ['error', ...timeGlobals],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'Time is a parameter: take a Clock (src/core/clock.ts).' },
      ],
      'no-restricted-imports': ['error', { paths: ['node:timers', 'node:timers/promises', 'node:perf_hooks'] }],
    },
  },
)
