"""The only room that imports pandas: records to DataFrames and back, for every room that offers a `.df`."""
