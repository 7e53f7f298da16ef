/** Where the source of several processes is: names of keys in a Redis that the cache knows nothing of. */
export const sourceNames = (prefix: string) => ({
  /** Hash: values by key; the value 'fails' makes a load fail. */
  values: `${prefix}source:values`,
  /** Hash: loads that have read their value so far, by key. */
  loads: `${prefix}source:loads`,
  /** Hash: loads at this moment, by key. */
  nowRunning: `${prefix}source:now`,
  /** List: how many loads of the key ran as each began. */
  running: (key: string) => `${prefix}source:running:${key}`,
  /** While it exists loads do not end. */
  hold: `${prefix}source:hold`,
})
