import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * Spreads each project's files, the longest first, over the whole run: files that compute go on beside files that wait,
 * and the run ends with the short ones of all.
 */
export class Interleaved extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const projects = new Map<string, TestSpecification[]>()
    for (const file of await super.sort(files)) {
      const { name } = file.project
      projects.set(name, [...(projects.get(name) ?? []), file])
    }
    const placed = [...projects.values()].flatMap((own) => own.map((file, i) => ({ file, at: i / own.length })))
    return placed.sort((a, b) => a.at - b.at).map(({ file }) => file)
  }
}
