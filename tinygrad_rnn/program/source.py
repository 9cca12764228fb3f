def written(trace, rolled, level):
    return ""
