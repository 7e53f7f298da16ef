import { NotOpen, type Way } from './resolve.js'

/** The way through an address in the environment. An address that is given is meant: where it fails, no other is taken. */
export const fromEnvironment = <S>(variable: string, open: (value: string) => Promise<S>): Way<S> => ({
  name: 'environment',
  last: true,
  start: async () => {
    const value = process.env[variable]?.trim()
    if (!value) throw new NotOpen(`${variable} is not set`)
    try {
      return await open(value)
    } catch (error) {
      throw new Error(`${variable} is ${value}, but ${error instanceof Error ? error.message : String(error)}`)
    }
  },
})
